# The identity changes when the file does.
identity() { stat -L -c '%d %i %s %z' @file@; }
was=$(identity)
@then@ &
found=$(@sum@)
wait $!; rc=$?
[ "$(identity)" = "$was" ] || found='changed while it was read'
[ "$found" != @expected@ ] || exit $rc
partx -d @at@ 2>/dev/null; wipefs -a @at@
echo "sha256 of @file@: ${found:-unreadable}" >&2; exit @wrong@
