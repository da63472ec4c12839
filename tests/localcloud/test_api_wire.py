"""The form of answers: envelopes of both dialects, XML, HTTP."""

import html
import socket
from http.client import HTTPConnection
from urllib.parse import urlsplit

from lib.localcloud.wire.http import parameters


def test_parameters_come_from_query_and_form_and_the_query_wins():
    found = parameters("command=a&x=1&x=2&alone&y=%C3%A9+", "command=b&z=1&z=2")
    assert found == {"command": "a", "x": "2", "y": "é ", "z": "1"}


def test_each_dialect_has_its_form_of_answers(api, old):
    """An empty list, a list, success, an error, a job; 2.2 does not escape quotes in errors."""
    gone = {one: one.volume()["id"] for one in (api, old)}
    assert gone[old] == 80921
    text = "Unable to find volume with ID: "
    for one, command, params, expected in [
        (api, "listSnapshots", {}, '{"listsnapshotsresponse":{}}'),
        (old, "listSnapshots", {}, '{ "listsnapshotsresponse" : { } }'),
        (api, "listHypervisors", {},
         '{"listhypervisorsresponse":{"count":1,"hypervisor":[{"name":"KVM"}]}}'),
        (old, "listHypervisors", {},
         '{ "listhypervisorsresponse" : { "count":1 ,"hypervisor" : [  {"name":"VMware"} ] } }'),
        (old, "attachVolume", {"id": gone[old], "virtualmachineid": 53553},
         '{ "attachvolumeresponse" : {"jobid":1131658} }'),
        (old, "detachVolume", {"id": gone[old]}, '{ "detachvolumeresponse" : {"jobid":1131659} }'),
        (api, "deleteVolume", {"id": gone[api]}, '{"deletevolumeresponse":{"success":true}}'),
        (old, "deleteVolume", {"id": gone[old]},
         '{ "deletevolumeresponse" : { "success" : "true"}  }'),
        (api, "deleteVolume", {"id": 10**6},
         '{"deletevolumeresponse":{"uuidList":[],"errorcode":431,"cserrorcode":4350,'
         f'"errortext":"{text}1000000"}}}}'),
        (old, "deleteVolume", {"id": 1}, '{ "deletevolumeresponse" : '
         f'{{"errorcode" : 431, "errortext" : "{text}1"}}  }}'),
    ]:  # fmt: skip
        assert one.raw(command, **params).text == expected
    assert api.raw("deleteVolume", id=10**6).description == f"{text}1000000"
    created = api.raw("createVolume", **api.volume_params())
    assert list(created.body) == ["id", "jobid"]
    broken = old.raw("listVolumes", pagesize=5).text
    assert '"errortext" : ""page" parameter is required' in broken


def test_backslash_u_in_a_text_breaks_the_json_as_on_a_real_server(api):
    created = api.raw("createSnapshot", name="\\u0041", volumeid=api.attached()["id"])
    assert created.status == 200
    assert '"name":"\\A"' in api.raw("listSnapshots").text


def test_answers_are_xml_unless_json_is_requested(api):
    answer = api.raw("listHypervisors", response="xml")
    assert answer.type == "text/xml;charset=utf-8"
    assert answer.text == (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<listhypervisorsresponse cloud-stack-version="4.22.0.0">'
        "<count>1</count><hypervisor><name>KVM</name></hypervisor></listhypervisorsresponse>"
    )


def test_xml_holds_what_breaks_the_json(api, old):
    answer = old.raw("listVolumes", pagesize=5, response="xml")
    assert '<errortext>"page" parameter is required' in html.unescape(answer.text)
    api.raw("createSnapshot", name="\\u0041", volumeid=api.attached()["id"])
    assert "<name>\\u0041</name>" in api.raw("listSnapshots", response="xml").text
    api.raw("configureSimulator", name="listZones", value="fault:malformed")
    assert api.raw("listZones", response="xml").status == 200


def test_connections_and_names_of_parameters(api):
    assert api.server.listener.socket.getsockname()[0] == "127.0.0.1"
    place = urlsplit(api.facts["endpoint"])
    line = HTTPConnection(place.hostname, place.port)
    for _ in range(3):
        line.request("GET", "/health")
        assert line.getresponse().read() == b"OK"
    line.close()
    answer = api.raw("listVolumes", method="GET", name="x" * 9000)
    assert (answer.status, "html" in answer.type) == (414, True)
    assert "volume" in api("listVolumes", virtualMachineId=api.workstation())
    assert api.raw("ListVolumes").status == 401
    assert api("listZones", colour="blue")["count"] == 1


def test_an_internal_number_does_for_an_id_and_a_removed_id_is_known(api):
    assert api("listZones", id=api.server.cloud.one("zone")["n"])["count"] == 1
    gone = api.volume()["id"]
    api("deleteVolume", id=gone)
    assert api("listVolumes", id=gone) == {}
    code, text = api.refused("deleteVolume", id=gone)
    assert (code, text) == (431, "Unable to find volume with ID: 3")  # its internal number


def test_other_paths_belong_to_discovery(api):
    base = api.facts["endpoint"].removesuffix("/client/api")
    place = urlsplit(base)
    with socket.create_connection((place.hostname, place.port)) as line:
        line.sendall(b"GET /new?size=3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = line.makefile().read()
    assert text.splitlines()[-1].startswith(f"{base}/")
