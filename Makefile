# Of GNU make. Everything that is made lands in $(BUILD); `make clean` removes that and nothing else.
#
# Yours: CXX, CXXFLAGS, CPPFLAGS, LDFLAGS, LDLIBS, PREFIX, DESTDIR, JOBS. Ours: what stands in
# OWN_FLAGS, so that `make CXXFLAGS=-O0` loses no warning.

# make's own default is g++, which a machine with clang alone has not: the first that runs.
ifneq ($(filter default undefined,$(origin CXX)),)
CXX := $(firstword $(foreach name,c++ g++ clang++, \
         $(shell $(name) --version >/dev/null 2>&1 && echo $(name))) c++)
endif

BUILD    ?= build
CXXFLAGS ?= -O1
STD      ?= c++11
PREFIX   ?= /usr/local
JOBS     ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
WERROR   ?=
# Which tests: make test TESTS='P1*,S2*'
TESTS    ?=
# Which machines: make foreign MACHINES=s390x
MACHINES ?=

WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast \
            -Wundef -Wmissing-declarations $(WERROR)
# Where tests/need.sh unpacks a package that it may not install; nothing where there is none.
UNPACKED  = $(addprefix -isystem ,$(wildcard $(BUILD)/packages/usr/include))
# -pthread: pthread_atfork() is in a library of its own before glibc 2.34.
OWN_FLAGS  = -std=$(STD) $(WARNINGS) -I. -pthread $(UNPACKED)
COMPILE    = $(CXX) $(OWN_FLAGS) $(CPPFLAGS) $(CXXFLAGS)

EXAMPLES := $(patsubst examples/%.cpp,$(BUILD)/%,$(wildcard examples/*.cpp))
# A support program is one file in tests/support; the harness is a part of the suite.
SUPPORT  := $(patsubst tests/support/%.cpp,$(BUILD)/%, \
              $(filter-out tests/support/harness.cpp,$(wildcard tests/support/*.cpp)))
# What is put before the C library of a program under test.
PRELOADS := $(patsubst tests/support/preload/%.cpp,$(BUILD)/%.so, \
              $(wildcard tests/support/preload/*.cpp))
# An attacker is one in tests/attacks; slow.cpp is preloaded, so it is a library.
ATTACKS  := $(patsubst tests/attacks/%.cpp,$(BUILD)/%, \
              $(filter-out tests/attacks/slow.cpp,$(wildcard tests/attacks/*.cpp))) \
              $(BUILD)/slow.so $(BUILD)/hostile-asan
RACES    := $(BUILD)/races $(BUILD)/soak
SUITE    := $(patsubst %.cpp,$(BUILD)/%.o,$(wildcard tests/*.cpp tests/support/harness.cpp))

# Whether the compiler finds a header; asked anew each time, since a header can be installed. The
# variable: how a # is escaped in here differs between versions of make.
hash := \#
has_header = $(shell echo '$(hash)include <$(1)>' | \
               $(COMPILE) -x c++ -E - >/dev/null 2>&1 && echo yes)
NEEDS_SECCOMP := $(BUILD)/deny

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test suite subject examples bench size bench-candidate fuzz install clean \
        coverage races soak stress valgrind cross windows subject-windows test-windows \
        bench-windows foreign faults faults-check readme vendoring pictures

help:
	@echo 'daemonize.hpp: one header, nothing to build. For trying, testing and measuring it:'
	@echo
	@echo '  make demo             a real daemon: started, looked at, rotated, stopped (seconds)'
	@echo '  make test             the suite; TESTS="P1*" for some of it, JOBS=1 one by one'
	@echo '  make races            many that want one PID file; RACES_SECONDS=$(RACES_SECONDS)'
	@echo '  make soak             start, signal, reload, stop; SOAK_CYCLES=$(SOAK_CYCLES)'
	@echo '  make stress           the suite under load, STRESS_ROUNDS=$(STRESS_ROUNDS)'
	@echo '  make valgrind         the subject under memcheck, over both forks'
	@echo '  make coverage         which lines of the header the suite runs, by clang (minutes)'
	@echo '  make examples         the programs of examples/, into $(BUILD)/'
	@echo '  make subject          $(BUILD)/subject, the program that the tests judge'
	@echo '  make readme           every block of README.md: compiled, run, compared (a minute)'
	@echo '  make vendoring        CMake, Meson, unity, module, libraries, static: each tried (a minute)'
	@echo '  make pictures         the pictures of README.md, into tests/pictures/ (python3)'
	@echo '  make fuzz             odd inputs to what reads text, FUZZ_SECONDS=$(FUZZ_SECONDS)'
	@echo '  make bench            the header beside the least correct C daemon, medians; CSV=file (minutes)'
	@echo '  make size             its bytes and lines alone (seconds)'
	@echo '  make faults           each system call fails, dies or waits; FAULTS_BUDGET=60 for a sample,'
	@echo '                        FAULTS="start:2:17:EINTR" for one case (minutes)'
	@echo '  make faults-check     whether that engine finds each kind of defect in a sloppy daemon'
	@echo '  make bench-candidate  $(BUILD)/bench-candidate and its -static sister'
	@echo '  make cross            the header and the subject for FreeBSD, NetBSD, OpenBSD, macOS,'
	@echo '                        musl, old glibc: compiled and linked (minutes, 395 MB from npm)'
	@echo '  make foreign          the suite with programs of other machines: 32 bit, musl, and arm,'
	@echo '                        aarch64, s390x under qemu; MACHINES="i386 s390x" for some'
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

$(BUILD)/%.so: tests/support/preload/%.cpp
	@mkdir -p $(@D)
	$(COMPILE) -fPIC -shared -MMD -MP -MF $@.d $< -o $@ $(LDFLAGS) $(LDLIBS)

$(BUILD)/%: tests/attacks/%.cpp
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -MF $@.d $< -o $@ $(LDFLAGS) $(LDLIBS)

# What is used after its end is seen by the sanitizer only, whatever the rest is built with. Without
# one there is no such program, and its tests say SKIP.
ASAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined
has_asan   := echo 'int main() { return 0; }' | $(CXX) $(ASAN_FLAGS) -x c++ - -o /dev/null \
                2>/dev/null

$(BUILD)/hostile-asan: tests/attacks/hostile.cpp
	@mkdir -p $(@D)
	@if $(has_asan); then set -x; $(CXX) $(OWN_FLAGS) $(filter -D%,$(CPPFLAGS)) -O0 -g1 \
	    $(ASAN_FLAGS) -MMD -MP -MF $@.d $< -o $@; fi

# By itself: what the rest is built with (a sanitizer, coverage) has no place in it.
$(BUILD)/slow.so: tests/attacks/slow.cpp
	@mkdir -p $(@D)
	$(CXX) $(OWN_FLAGS) $(filter -m32 -isystem /%,$(CXXFLAGS)) -O1 -shared -fPIC -MMD -MP -MF $@.d $< -o $@ -ldl

$(BUILD)/%.o: %.cpp
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -c $< -o $@

$(BUILD)/suite: $(SUITE)
	$(COMPILE) $^ -o $@ $(LDFLAGS) $(LDLIBS)

# Judges that run for long; each is one file in tests/races, and asks the harness.
$(RACES): $(BUILD)/%: $(BUILD)/tests/races/%.o $(BUILD)/tests/races/judge.o \
        $(BUILD)/tests/support/harness.o
	$(COMPILE) $^ -o $@ $(LDFLAGS) $(LDLIBS)

$(BUILD)/witness: tests/races/witness.cpp
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -MF $@.d $< -o $@ $(LDFLAGS) $(LDLIBS)

LIBS_deny := -lseccomp
# It needs a library of this machine's own width, and only executes the program that it is for.
$(BUILD)/deny: override CXXFLAGS := $(filter-out -m32,$(CXXFLAGS))

examples: $(EXAMPLES)
subject: $(BUILD)/subject

# ---- The two commands ---------------------------------------------------------------------------

# Whether there is a compiler is asked first: what make says of a missing one helps nobody.
demo:
	@sh tests/need.sh compiler '$(COMPILE)'
	@$(MAKE) --no-print-directory $(BUILD)/ticker
	@sh examples/demo.sh $(BUILD)/ticker

suite: $(BUILD)/suite $(EXAMPLES) $(PRELOADS) $(ATTACKS) \
       $(if $(call has_header,seccomp.h),$(SUPPORT),$(filter-out $(NEEDS_SECCOMP),$(SUPPORT)))

# A make of its own after the headers were looked for: which programs can be built depends on them.
test:
	@sh tests/need.sh compiler '$(COMPILE)'
	@sh tests/need.sh doctest '$(COMPILE)' '$(BUILD)/packages'
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

# ---- Many at once, and for long ------------------------------------------------------------------
# The same seed draws the same again, when it happens is the scheduler's; RACES_SEED=0 draws one.

RACES_ROUNDS  ?= 20
RACES_SECONDS ?= 60
RACES_SEED    ?= 1
SOAK_CYCLES   ?= 10000
STRESS_ROUNDS ?= 10

races: $(BUILD)/races $(BUILD)/subject $(BUILD)/witness
	@DAEMONIZE_BUILD='$(BUILD)' $(BUILD)/races --rounds $(RACES_ROUNDS) \
	    --seconds $(RACES_SECONDS) --seed $(RACES_SEED)

soak: $(BUILD)/soak $(BUILD)/subject
	@DAEMONIZE_BUILD='$(BUILD)' $(BUILD)/soak --cycles $(SOAK_CYCLES)

stress:
	+@$(MAKE) --no-print-directory -j $(JOBS) suite
	@sh tests/stress.sh '$(BUILD)' '$(JOBS)' '$(STRESS_ROUNDS)' '$(TESTS)'

valgrind: $(BUILD)/subject
	@sh tests/valgrind.sh '$(BUILD)'
# ---- Each system call fails, dies or waits ------------------------------------------------------
# FAULTS_BUDGET: seconds, 0 is all; what fits into them is drawn by FAULTS_SEED.

FAULTS        ?=
FAULTS_SEED   ?= 1
FAULTS_BUDGET ?= 0
FAULT_ENGINE  := $(patsubst %.cpp,$(BUILD)/%.o,$(wildcard tests/faults/*.cpp) \
                   tests/support/harness.cpp)

$(BUILD)/faults: $(FAULT_ENGINE)
	$(COMPILE) $^ -o $@ $(LDFLAGS) $(LDLIBS)

faults: $(BUILD)/faults $(BUILD)/subject
	@$(BUILD)/faults $(BUILD)/subject --jobs '$(JOBS)' --seed '$(FAULTS_SEED)' \
	    --budget '$(FAULTS_BUDGET)' --faults '$(FAULTS)'

# Whether the engine finds what there is to find: each verdict in a daemon that asks for it.
faults-check: $(BUILD)/faults $(BUILD)/sloppy
	@sh tests/faults/check.sh '$(BUILD)/faults' '$(BUILD)/sloppy' '$(JOBS)'

$(BUILD)/sloppy: tests/faults/target/sloppy.cpp
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -MF $@.d $< -o $@ $(LDFLAGS) $(LDLIBS)

# ---- What it costs ------------------------------------------------------------------------------
# Both sides are compiled and linked alike, without the functions that nobody calls. The floor needs
# no libstdc++: a linker that drops libraries that are not needed would give it a start without one.

comma := ,
BENCH_FLAGS := -std=$(STD) $(WARNINGS) -I. -pthread -O2 -ffunction-sections -fdata-sections
BENCH_LINK  := $(if $(filter Linux,$(shell uname -s)),-Wl$(comma)--no-as-needed$(comma)--gc-sections)
# What is weighed: `make size` needs no other.
BENCH_SIZE  := $(addprefix $(BUILD)/,bench bench-floor bench-floor-small bench-floor-bare \
                 bench-candidate bench-candidate-small bench-candidate-bare bench-pidfile-only \
                 bench-pidfile-only-small bench-open-only bench-open-only-small)
BENCH_ALL   := $(BENCH_SIZE) $(addprefix $(BUILD)/,bench-floor-static bench-floor-stays \
                 bench-candidate-static bench-candidate-generic bench-latency \
                 $(if $(call has_header,libdaemon/daemon.h),bench-peer))
BENCH_LINK_static   := -static-libstdc++ -static-libgcc
BENCH_LINK_peer     := -Wl$(comma)--as-needed -ldaemon
BENCH_FLAGS_generic := -DDAEMONIZE_GENERIC_POSIX
BENCH_FLAGS_small   := -Os
BENCH_FLAGS_stays   := -DLEADER_STAYS=1
BENCH_FLAGS_bare    := -Os -fno-exceptions -fno-rtti -fno-asynchronous-unwind-tables

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
$(eval $(call bench_program,bench-floor-stays,floor,stays))
$(eval $(call bench_program,bench-floor-bare,floor,bare))
$(eval $(call bench_program,bench-candidate-bare,candidate,bare))
$(eval $(call bench_program,bench-pidfile-only,pidfile_only,plain))
$(eval $(call bench_program,bench-pidfile-only-small,pidfile_only,small))
$(eval $(call bench_program,bench-open-only,open_only,plain))
$(eval $(call bench_program,bench-open-only-small,open_only,small))
$(eval $(call bench_program,bench-latency,latency,plain))
$(eval $(call bench_program,bench-peer,peer,peer))
$(eval $(call bench_program,bench,bench,plain))

bench-candidate: $(BUILD)/bench-candidate $(BUILD)/bench-candidate-static

# Every row also into a file: make bench CSV=file
CSV ?=

bench: $(BENCH_ALL)
	@CXX='$(CXX)' $(BUILD)/bench $(BUILD) $(if $(CSV),--csv '$(CSV)')

# The programs that are weighed, not run: they are built JOBS at once.
size:
	+@$(MAKE) --no-print-directory -s -j $(JOBS) $(BENCH_SIZE)
	@$(BUILD)/bench $(BUILD) $(if $(CSV),--csv '$(CSV)') size

# ---- Other systems ------------------------------------------------------------------------------

cross:
	@sh tests/cross.sh '$(BUILD)' '$(WARNINGS) -Werror' '$(JOBS)'

# The runner is of this machine, the programs are not.
foreign:
	@sh tests/need.sh compiler '$(COMPILE)'
	@sh tests/need.sh doctest '$(COMPILE)' '$(BUILD)/packages'
	@$(MAKE) --no-print-directory -j $(JOBS) suite
	@MACHINES='$(MACHINES)' sh tests/foreign/run.sh '$(BUILD)' '$(JOBS)' '$(TESTS)' \
	    '$(MAKE) --no-print-directory' '$(COMPILE)'

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

# ---- What README.md says and shows ---------------------------------------------------------------

readme:
	@sh tests/readme.sh '$(BUILD)/readme' '$(CXX)'

vendoring:
	@sh tests/vendoring.sh '$(BUILD)/vendoring' '$(CXX)'

pictures:
	@python3 tests/pictures.py

# ---- The rest -----------------------------------------------------------------------------------

install:
	mkdir -p '$(DESTDIR)$(PREFIX)/include'
	cp daemonize.hpp '$(DESTDIR)$(PREFIX)/include/daemonize.hpp'
	chmod 644 '$(DESTDIR)$(PREFIX)/include/daemonize.hpp'

clean:
	rm -rf '$(BUILD)'

# What each file depends on, as the compiler wrote it down.
-include $(wildcard $(BUILD)/*.d $(BUILD)/tests/*.d $(BUILD)/tests/*/*.d $(WINDOWS)/*.d \
           $(WINDOWS)/*/*.d)
