# `wipefs -n` writes nothing, but with -a it opens the disk exclusively, as if it would.
@users@
say() { printf '> %s\n' "$*"; }
places() {
    perl -e 'open F, "<:raw", shift or exit 1; for $i (0 .. @last@) {
        sysseek F, $i * @step@, 0; sysread(F, $b, @block@) or exit 1; print $b }' @at@ ||
    for i in $(seq 0 @last@); do dd if=@at@ bs=@block@ skip=$((i * @step@ / @block@)) count=1; done
}
say lsblk "$(lsblk -b -d -n -r -o SIZE,SERIAL,WWN,HCTL,RO,MAJ:MIN @at@ 2>&1)"
say real "$(readlink -f @at@)"
blkid -p @at@; say blkid $?; wipefs -n @at@; say wipefs $?
if wipefs -n -a @at@ >/dev/null 2>&1; then say alone yes; else say alone no; fi
say head "$(head -c @mib@ @at@ | sha256sum)"
say tail "$(tail -c @mib@ @at@ | sha256sum)"
say places "$(places 2>/dev/null | sha256sum)"
say users "${found:-none}"
