# Programs that have the disk open, and loop devices on it: dd and qemu open it without O_EXCL.
# In the guard our own parent has it open. udev opens disks for a moment, so this is repeated.
users() {
    find /proc/[0-9]*/fd '(' -lname @at@ -o -lname @parts@ ')' 2>/dev/null | cut -d/ -f3 |
        sort -un | while read -r p; do
            [ "$p" = "$PPID" ] || echo "$(cat /proc/$p/comm 2>/dev/null) (process $p)"
        done
    for file in /sys/block/*/loop/backing_file; do
        read -r on <"$file" && case $on in
            @at@ | @pattern@) file=${file%/loop/*}; echo "${file##*/}" ;;
        esac
    done 2>/dev/null
}
for _ in 1 2 3 4 5; do
    found=$(users | paste -s -d, -); [ -n "$found" ] || break; sleep 0.4
done
