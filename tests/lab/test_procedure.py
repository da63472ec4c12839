"""The state of each stage at the cloud, as the picture shows it."""

from harness import RUN, client, play, play_to

from lib.lab import procedure


def words(cloud, **params) -> dict[int, str]:
    found = procedure.states(procedure.look(cloud, RUN | params))
    return {number: str(state) for number, state in found.items()}


def test_the_states_follow_the_stages(server):
    cloud = client(server)
    assert words(cloud)[10] == "○ to do" and words(cloud)[90] == "- nothing to remove"
    play_to(cloud, "11-attach-volume", mode="apply")
    found = words(cloud)
    assert found[10] == "✓ 40 GiB, Ready" and found[11] == "✓ at my-workstation"
    assert found[30] == "- on the workstation" and found[40] == found[41] == "○ to do"
    for stage in ("20-write-cloud-config", "30-install-coreos", "40-detach-volume"):
        play(cloud, stage, mode="apply")
    assert words(cloud)[40] == "- volume is detached"
    play(cloud, "41-create-snapshot", mode="apply")
    assert words(cloud)[40] == "✓ snapshot exists"
    assert words(cloud)[41] == "✓ snapshot is BackedUp"
    play(cloud, "42-create-template", mode="apply")
    assert words(cloud)[42] == "✓ template is ready" and words(cloud)[50] == "○ 0 of 3 Running"
    play(cloud, "50-deploy-cluster", mode="apply")
    assert words(cloud)[50] == "✓ 3 of 3 Running"
    removed = "- would remove 3 machines, template, snapshot, volume"
    assert words(cloud)[90] == removed and words(cloud)[80] == "- on request"
    found = words(cloud, cluster_size=2)
    assert found[50] == "✓ 2 of 2 Running; more than that: coreos-cluster-3"
    assert found[80] == "- would remove coreos-cluster-3" and found[90] == removed


def test_the_picture_escapes_what_it_shows():
    state = procedure.State(procedure.DONE, "<b>at</b>")
    shown = procedure.picture([(10, "10 <i>", "a&b.ipynb")], {10: state})
    assert "10 &lt;i&gt;" in shown and "&lt;b&gt;at" in shown and 'href="a&amp;b.ipynb"' in shown
