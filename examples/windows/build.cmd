@rem Builds ticker.exe. Run it in this directory: with Visual Studio in its developer prompt, else
@rem with the g++ of mingw-w64 or MSYS2 in the path. -static: the program needs no DLL of the compiler's.
@where cl >nul 2>nul && goto msvc
g++ -std=c++11 -O2 -Wall -I..\.. ..\ticker.cpp -o ticker.exe -static
@exit /b %ERRORLEVEL%
:msvc
cl /nologo /std:c++14 /O2 /W4 /permissive- /EHsc /utf-8 /I..\.. ..\ticker.cpp /Fe:ticker.exe
@exit /b %ERRORLEVEL%
