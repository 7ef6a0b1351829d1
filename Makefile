# Of GNU make. Everything that is made lands in $(BUILD); `make clean` removes that and nothing else.
#
# Yours: CXX, CXXFLAGS, CPPFLAGS, LDFLAGS, LDLIBS, PREFIX, DESTDIR, JOBS. Ours: what stands in
# OWN_FLAGS, so that `make CXXFLAGS=-O0` loses no warning.

BUILD    ?= build
CXXFLAGS ?= -O1
STD      ?= c++11
PREFIX   ?= /usr/local
JOBS     ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
WERROR   ?=
# Which tests: make test TESTS='P1*,S2*'
TESTS    ?=

WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast \
            -Wundef -Wmissing-declarations $(WERROR)
# -pthread: pthread_atfork() is in a library of its own before glibc 2.34.
OWN_FLAGS := -std=$(STD) $(WARNINGS) -I. -pthread
COMPILE    = $(CXX) $(OWN_FLAGS) $(CPPFLAGS) $(CXXFLAGS)

EXAMPLES := $(patsubst examples/%.cpp,$(BUILD)/%,$(wildcard examples/*.cpp))
# A support program is one file in tests/support; the harness is a part of the suite.
SUPPORT  := $(patsubst tests/support/%.cpp,$(BUILD)/%, \
              $(filter-out tests/support/harness.cpp,$(wildcard tests/support/*.cpp)))
SUITE    := $(patsubst %.cpp,$(BUILD)/%.o,$(wildcard tests/*.cpp tests/support/harness.cpp))

# Whether the compiler finds a header; asked anew each time, since a header can be installed. The
# variable: how a # is escaped in here differs between versions of make.
hash := \#
has_header = $(shell echo '$(hash)include <$(1)>' | \
               $(COMPILE) -x c++ -E - >/dev/null 2>&1 && echo yes)
NEEDS_SECCOMP := $(BUILD)/deny

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test suite subject examples bench bench-candidate fuzz install clean \
        coverage cross windows subject-windows test-windows bench-windows

help:
	@echo 'daemonize.hpp: one header, nothing to build. For trying, testing and measuring it:'
	@echo
	@echo '  make demo             a real daemon: started, looked at, rotated, stopped (seconds)'
	@echo '  make test             the suite; TESTS="P1*" for some of it, JOBS=1 one by one'
	@echo '  make coverage         which lines of the header the suite runs, by clang (minutes)'
	@echo '  make examples         the programs of examples/, into $(BUILD)/'
	@echo '  make subject          $(BUILD)/subject, the program that the tests judge'
	@echo '  make fuzz             odd inputs to what reads text, FUZZ_SECONDS=$(FUZZ_SECONDS)'
	@echo '  make bench            the header beside the least correct C daemon, medians (minutes)'
	@echo '  make bench-candidate  $(BUILD)/bench-candidate and its -static sister'
	@echo '  make cross            compiles the header for macOS, musl, old glibc, 32 bit'
	@echo '  make windows          cross compiles the header with each mingw that is there'
	@echo '  make test-windows     the Windows suite under wine; TESTS="R13*" for some of it'
	@echo '  make subject-windows  $(BUILD)/windows/subject.exe'
	@echo '  make bench-windows    the header beside a bare CreateProcess, under wine'
	@echo '  make install          the header into $$(DESTDIR)$$(PREFIX)/include; PREFIX=$(PREFIX)'
	@echo '  make clean            removes $(BUILD)/'
	@echo
	@echo 'CXX, CXXFLAGS, CPPFLAGS, LDFLAGS, LDLIBS are yours; BUILD=dir for a second build.'

# ---- Programs -----------------------------------------------------------------------------------

$(BUILD)/%: examples/%.cpp
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -MF $@.d $< -o $@ $(LDFLAGS) $(LDLIBS)

$(BUILD)/%: tests/support/%.cpp
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -MF $@.d $< -o $@ $(LDFLAGS) $(LDLIBS) $(LIBS_$*)

$(BUILD)/%.o: %.cpp
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -c $< -o $@

$(BUILD)/suite: $(SUITE)
	$(COMPILE) $^ -o $@ $(LDFLAGS) $(LDLIBS)

LIBS_deny := -lseccomp

examples: $(EXAMPLES)
subject: $(BUILD)/subject

# ---- The two commands ---------------------------------------------------------------------------

demo: $(BUILD)/ticker
	@sh examples/demo.sh $(BUILD)/ticker

suite: $(BUILD)/suite $(EXAMPLES) \
       $(if $(call has_header,seccomp.h),$(SUPPORT),$(filter-out $(NEEDS_SECCOMP),$(SUPPORT)))

# A make of its own after the headers were looked for: which programs can be built depends on them.
test:
	@sh tests/need.sh doctest '$(COMPILE)'
	@sh tests/need.sh libseccomp '$(COMPILE)'
	@$(MAKE) --no-print-directory -j $(JOBS) suite
	@sh tests/run.sh '$(BUILD)' '$(JOBS)' '$(TESTS)'

# ---- What the suite runs ------------------------------------------------------------------------
# By clang: counts that are in a file at once (%c) and outlive _exit and SIGKILL. Its path is a part
# of the program, since some programs are started without an environment.

COV       := $(BUILD)/coverage
COV_FLAGS := -O0 -g1 -fcoverage-mapping -fprofile-update=atomic \
             -mllvm -runtime-counter-relocation \
             -fprofile-instr-generate=%c$(abspath $(COV))/prof/%m.profraw -Qunused-arguments

coverage:
	+@sh tests/coverage.sh '$(COV)' '$(JOBS)' '$(TESTS)' $(MAKE) --no-print-directory -j $(JOBS) \
	    suite BUILD='$(COV)' CXX=clang++ CXXFLAGS='$(COV_FLAGS)'

# ---- Inputs that no test would think of ---------------------------------------------------------

FUZZ_SECONDS ?= 30
FUZZ_CXX     := clang++
FUZZ_FLAGS   := -std=$(STD) $(WARNINGS) -I. -pthread -g -O1 -fsanitize=fuzzer,address,undefined \
                -fno-sanitize-recover=all

$(BUILD)/fuzz-pure: tests/fuzz/pure.cpp
	@mkdir -p $(@D)
	$(FUZZ_CXX) $(FUZZ_FLAGS) -MMD -MP -MF $@.d $< -o $@

has_fuzzer := echo 'extern "C" int LLVMFuzzerTestOneInput() { return 0; }' | $(FUZZ_CXX) -x c++ \
                -fsanitize=fuzzer,address - -o /dev/null 2>/dev/null

fuzz:
	@if $(has_fuzzer); then $(MAKE) --no-print-directory $(BUILD)/fuzz-pure && \
	    sh tests/fuzz/run.sh '$(BUILD)/fuzz-pure' $(FUZZ_SECONDS); \
	else \
	    echo 'SKIP fuzz: there is no $(FUZZ_CXX) with libFuzzer (package clang)'; \
	    echo '0 passed, 0 failed, 1 skipped'; \
	fi

# ---- What it costs ------------------------------------------------------------------------------
# Both sides are compiled and linked alike, without the functions that nobody calls. The floor needs
# no libstdc++: a linker that drops libraries that are not needed would give it a start without one.

comma := ,
BENCH_FLAGS := -std=$(STD) $(WARNINGS) -I. -pthread -O2 -ffunction-sections -fdata-sections
BENCH_LINK  := $(if $(filter Linux,$(shell uname -s)),-Wl$(comma)--no-as-needed$(comma)--gc-sections)
BENCH_ALL   := $(addprefix $(BUILD)/,bench-floor bench-floor-static bench-candidate \
                 bench-candidate-static bench-candidate-generic bench-floor-small \
                 bench-candidate-small bench-latency bench \
                 $(if $(call has_header,libdaemon/daemon.h),bench-peer))
BENCH_LINK_static   := -static-libstdc++ -static-libgcc
BENCH_LINK_peer     := -Wl$(comma)--as-needed -ldaemon
BENCH_FLAGS_generic := -DDAEMONIZE_GENERIC_POSIX
BENCH_FLAGS_small   := -Os

define bench_program
$$(BUILD)/$(1): tests/bench/$(2).cpp
	@mkdir -p $$(@D)
	$$(CXX) $$(BENCH_FLAGS) $$(BENCH_FLAGS_$(3)) $$(CPPFLAGS) -MMD -MP -MF $$@.d $$< -o $$@ \
	    $$(BENCH_LINK) $$(BENCH_LINK_$(3)) $$(LDFLAGS) $$(LDLIBS)
endef
$(eval $(call bench_program,bench-floor,floor,plain))
$(eval $(call bench_program,bench-floor-static,floor,static))
$(eval $(call bench_program,bench-candidate,candidate,plain))
$(eval $(call bench_program,bench-candidate-static,candidate,static))
$(eval $(call bench_program,bench-candidate-generic,candidate,generic))
$(eval $(call bench_program,bench-floor-small,floor,small))
$(eval $(call bench_program,bench-candidate-small,candidate,small))
$(eval $(call bench_program,bench-latency,latency,plain))
$(eval $(call bench_program,bench-peer,peer,peer))
$(eval $(call bench_program,bench,bench,plain))

bench-candidate: $(BUILD)/bench-candidate $(BUILD)/bench-candidate-static

bench: $(BENCH_ALL)
	@CXX='$(CXX)' $(BUILD)/bench $(BUILD)

# ---- Other systems ------------------------------------------------------------------------------

cross:
	@sh tests/cross.sh '$(BUILD)/cross' '$(WARNINGS) -Werror' '$(JOBS)'

# ---- Windows ------------------------------------------------------------------------------------
# The programs are built with the thread model that has no std::thread, where there is a choice; the
# suite with the other, which doctest needs. Without mingw or wine a target says SKIP, and counts it.

WINDOWS       := $(BUILD)/windows
MINGW         := x86_64-w64-mingw32-g++
first_of       = $(firstword $(foreach name,$(1),$(shell command -v $(name) 2>/dev/null)))
MINGW_PROGRAM := $(call first_of,$(MINGW)-win32 $(MINGW))
MINGW_NARROW  := $(call first_of,i686-w64-mingw32-g++-win32 i686-w64-mingw32-g++)
MINGW_SUITE   := $(call first_of,$(MINGW)-posix $(MINGW))
WINDOWS_FLAGS := -std=$(STD) $(WARNINGS) -I. -O1 -g -static -MMD -MP
WINDOWS_TESTS := $(WINDOWS)/suite.exe $(WINDOWS)/pure.exe $(WINDOWS)/victim.exe \
                 $(WINDOWS)/subject.exe $(WINDOWS)/library.dll \
                 $(if $(MINGW_NARROW),$(WINDOWS)/subject32.exe)
WINDOWS_SUITE := $(patsubst tests/%.cpp,$(WINDOWS)/%.o,tests/both_test.cpp \
                   $(wildcard tests/windows/windows_*.cpp))
DOCTEST       := $(dir $(firstword $(wildcard /usr/include/doctest/doctest.h \
                   /usr/local/include/doctest/doctest.h /opt/homebrew/include/doctest/doctest.h)))

windows:
	@sh tests/windows/build.sh '$(WINDOWS)' '$(WARNINGS) -Werror' '$(JOBS)'

$(WINDOWS)/subject.exe: tests/support/subject.cpp
	@mkdir -p $(@D)
	$(MINGW_PROGRAM) $(WINDOWS_FLAGS) $< -o $@

$(WINDOWS)/victim.exe $(WINDOWS)/bench.exe: $(WINDOWS)/%.exe: tests/windows/%.cpp
	@mkdir -p $(@D)
	$(MINGW_PROGRAM) $(WINDOWS_FLAGS) $< -o $@

$(WINDOWS)/subject32.exe: tests/support/subject.cpp
	@mkdir -p $(@D)
	$(MINGW_NARROW) $(WINDOWS_FLAGS) $< -o $@

$(WINDOWS)/library.dll: tests/windows/library.cpp
	@mkdir -p $(@D)
	$(MINGW_PROGRAM) $(WINDOWS_FLAGS) -shared $< -o $@

# Alone: beside it the cross compiler would find the headers of this system.
$(WINDOWS)/include/doctest/doctest.h: $(DOCTEST)doctest.h
	@mkdir -p $(@D)
	@cp $< $@

$(WINDOWS)/pure.exe: tests/pure_test.cpp $(WINDOWS)/include/doctest/doctest.h
	$(MINGW_SUITE) $(WINDOWS_FLAGS) -isystem $(WINDOWS)/include \
	    -DDOCTEST_CONFIG_IMPLEMENT_WITH_MAIN $< -o $@

# both_test.cpp is of both suites. One object for each file: -MMD keeps what one alone depends on.
$(WINDOWS)/%.o: tests/%.cpp $(WINDOWS)/include/doctest/doctest.h
	@mkdir -p $(@D)
	$(MINGW_SUITE) $(WINDOWS_FLAGS) -isystem $(WINDOWS)/include -c $< -o $@

$(WINDOWS)/suite.exe: $(WINDOWS_SUITE)
	$(MINGW_SUITE) $(WINDOWS_FLAGS) $(WINDOWS_SUITE) -o $@

subject-windows: $(if $(MINGW_PROGRAM),$(WINDOWS)/subject.exe)
	$(if $(MINGW_PROGRAM),,@echo 'SKIP subject-windows: there is no $(MINGW)')

test-windows: $(if $(and $(MINGW_SUITE),$(DOCTEST)),$(WINDOWS_TESTS))
	@sh tests/windows/run.sh '$(WINDOWS)' '$(TESTS)'

bench-windows: $(if $(MINGW_PROGRAM),$(WINDOWS)/bench.exe)
	@sh tests/windows/bench.sh '$(WINDOWS)'

# ---- The rest -----------------------------------------------------------------------------------

install:
	mkdir -p '$(DESTDIR)$(PREFIX)/include'
	cp daemonize.hpp '$(DESTDIR)$(PREFIX)/include/daemonize.hpp'
	chmod 644 '$(DESTDIR)$(PREFIX)/include/daemonize.hpp'

clean:
	rm -rf '$(BUILD)'

-include $(BUILD)/fuzz-pure.d $(EXAMPLES:=.d) $(SUPPORT:=.d) $(SUITE:.o=.d) $(BENCH_ALL:=.d) \
         $(wildcard $(WINDOWS)/*.d) $(WINDOWS_SUITE:.o=.d)
