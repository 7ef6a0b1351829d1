#!/bin/sh
# nobody.sh copy DIRECTORY BUILD    the tree and the programs of BUILD, for nobody to read
# nobody.sh run DIRECTORY COMMAND   there, as nobody, with nothing of the caller's environment that
#                                   names his own places. Both need root.
verb=$1 directory=$2
shift 2
group=$(id -gn nobody) || exit 1
case $verb in
copy)
    mkdir -p "$directory/build" "$directory/home" || exit 1
    cp -R tests examples daemonize.hpp README.md Makefile "$directory/" || exit 1
    find "$1" -maxdepth 1 -type f -perm -100 -exec cp {} "$directory/build/" ';' || exit 1
    chown -R "nobody:$group" "$directory"
    ;;
run)
    cd "$directory" || exit 1
    exec setpriv --reuid nobody --regid "$group" --clear-groups \
        env -u XDG_STATE_HOME -u XDG_RUNTIME_DIR HOME="$PWD/home" USER=nobody LOGNAME=nobody "$@"
    ;;
*)
    echo "nobody.sh: copy or run, not '$verb'" >&2
    exit 2
    ;;
esac
