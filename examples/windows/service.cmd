@rem ticker as a service, by itself. As administrator:  service.cmd install | remove
@rem
@rem The verb "run" under the service manager IS the service: RUNNING when ready() was called, a stop
@rem and a shutdown of the machine are SIGTERM, "sc control ticker paramchange" is a reload.
@rem Only administrators may write to the directory of the PID file: through it others are stopped.
@setlocal
@set HOME_OF=%ProgramData%\ticker
@if "%1"=="remove" goto remove
mkdir "%HOME_OF%"
icacls "%HOME_OF%" /inheritance:r /grant *S-1-5-18:(OI)(CI)F *S-1-5-32-544:(OI)(CI)F *S-1-5-19:(OI)(CI)M
copy ticker.exe "%HOME_OF%"
sc create ticker start= auto obj= "NT AUTHORITY\LocalService" binPath= "\"%HOME_OF%\ticker.exe\" run --pidfile \"%HOME_OF%\ticker.pid\" --log \"%HOME_OF%\ticker.log\""
sc failure ticker reset= 86400 actions= restart/5000/restart/60000
sc start ticker
sc query ticker
@exit /b %ERRORLEVEL%
:remove
sc stop ticker
sc delete ticker
