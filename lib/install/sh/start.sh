# A follower may hold the lock for a moment, hence the wait. A lost terminal ends no command.
umask 022; exec 9>>@folder@/lock; flock -w 3 9 || exit @busy@
@left@
@end@
rm -f -- @folder@/rc; : >@folder@/log || exit 1
trap '' HUP
setsid sh -c @supervise@ </dev/null >>@folder@/log 2>&1 &
