@rem ticker as a service by NSSM, which takes the output, too. As administrator.
@rem NSSM stops it by Ctrl-C, which is SIGINT, and waits for as long as is said here.
nssm install ticker "%CD%\ticker.exe" run
nssm set ticker AppStdout "%CD%\ticker.log"
nssm set ticker AppStderr "%CD%\ticker.log"
nssm set ticker AppStopMethodConsole 15000
nssm set ticker AppExit Default Restart
nssm start ticker
