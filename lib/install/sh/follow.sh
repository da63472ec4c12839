# Ends when the command does, or half a second later when the log has grown, or after two seconds.
n=0
until flock -w 0.5 -s @folder@/lock true && over=over || [ $n = 3 ]; do
    [ "$(wc -c <@folder@/log)" -le @size@ ] || break
    n=$((n + 1))
done
echo "$over $(wc -c <@folder@/log)"; echo $(@probe@); tail -n +@first@ -- @folder@/log
