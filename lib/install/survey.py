"""Whether the image and its installer can be used, told before a disk is made for them."""

from lib.checks import Tick, asked, tick
from lib.config import Form
from lib.install import fetched, images, installers
from lib.install.images import Image
from lib.install.order import Order
from lib.ours import Ours
from lib.resources import volumes
from lib.workstation import notes
from lib.workstation.shell import Shell


def rows(
    ours: Ours, shell: Shell, work_dir: str, image: Image, form: dict, size: int
) -> list[Tick]:
    """Return rows on the image, its installer and the size of its disk, `size` in GB.

    `form` are the arguments of `Form` besides those that the image has.
    """
    found = asked("the image", _described, image)
    found += asked("its configuration", _disk_file, image, form)
    if any(row.ok == "✗" for row in found):
        return found
    return found + asked("the installer", _install, ours, shell, work_dir, image, form, size)


def _described(image: Image) -> str:
    images.demand_valid(image)
    return " ".join(filter(None, (image.channel, image.version, image.oem, image.board)))


def _disk_file(image: Image, form: dict) -> str:
    return Form(image.installer, image.oem, **form).disk_file or "all in the user data"


def _install(
    ours: Ours, shell: Shell, work_dir: str, image: Image, form: dict, size: int
) -> list[Tick]:
    if _is_installed(ours, shell, work_dir):
        why = "CoreOS is installed" if ours.needs_disk else "no disk is"
        return [tick("the installer", "any", f"not needed: {why}", True)]
    volume = ours.volume() or {"id": "", "name": ours.volume_name, "size": size * 2**30}
    order = Order(work_dir, image, Form(image.installer, image.oem, **form), volume)
    found = asked("the installer", _installer, shell, order)
    found += asked("the image's source", images.demand_source, shell, image)
    return [*found, _room(image, size)]


def _is_installed(ours: Ours, shell: Shell, work_dir: str) -> bool:
    if not ours.needs_disk:  # whoever's the volume of that name is
        return True
    volume = ours.volume()
    done = volume and str(volume["id"]) == notes.installed_volume(shell, work_dir)
    return bool(done) or volumes.used(ours)


def _installer(shell: Shell, order: Order) -> str:
    there = not fetched.plan_fetch(shell, order.image, order.work_dir)
    return installers.demand_installer(shell, order, there=there) + "; and what it needs"


def _room(image: Image, size: int) -> Tick:
    """Return a row on whether the image fits; of a mirror or file that is open."""
    needs, own = images.NEEDS_GB[image.installer], image.file or image.url
    fits = size * 2**30 >= needs * 10**9
    ok = fits or (None if own else False)
    return tick("volume_size", f"{needs} GB or more", f"{size} GB", ok, "Set volume_size.")
