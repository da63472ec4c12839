@left@
env "$mark" timeout -k 5 @seconds@ sh -c @command@ 9>&- &
wait $!; echo $? >@folder@/rc.new
n=0; while [ $n -lt 100 ] && kill -s KILL -- -$! 2>/dev/null; do n=$((n + 1)); sleep 0.05; done
@end@
sync -- @folder@/rc.new && mv -f -- @folder@/rc.new @folder@/rc && sync -- @folder@
