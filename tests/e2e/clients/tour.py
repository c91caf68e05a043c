"""A tour with the Python client: what people's programs do, step by step. Each step that fails is named.

Everything happens in a namespace of its own. IMAGE is an image with a shell and httpd, OLD_VERSION a
resourceVersion of ConfigMaps that the server has forgotten, BOATS the file of a definition.
"""

import json
import os
import pathlib
import sys
import threading
import time
import traceback

from kubernetes import client, config, dynamic, stream, utils, watch
from kubernetes.client.exceptions import ApiException

NAMESPACE = "tour-python"
GROUP = "python.tours.example.com"
IMAGE = os.environ["IMAGE"]
OLD_VERSION = os.environ["OLD_VERSION"]
PATIENCE = 60

config.load_kube_config()
api = client.ApiClient()
core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
extensions, custom = client.ApiextensionsV1Api(api), client.CustomObjectsApi(api)
steps = []


def step(function):
    steps.append(function)
    return function


def eventually(what, check):
    deadline = time.monotonic() + PATIENCE
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.05)


def refused(code, call, *args, **kwargs):
    """The Status that refuses a call, which must have this code."""
    try:
        call(*args, **kwargs)
    except ApiException as error:
        assert error.status == code, f"{error.status} instead of {code}: {error.body}"
        return json.loads(error.body) if error.body else {}
    raise AssertionError(f"nothing refused it with {code}")


def config_map(name, **data):
    metadata = client.V1ObjectMeta(name=name, labels={"part": "tour"})
    return client.V1ConfigMap(metadata=metadata, data=data)


@step
def version_and_discovery():
    assert client.VersionApi(api).get_code().git_version.startswith("v1.36")
    groups = {group.name for group in client.ApisApi(api).get_api_versions().groups}
    assert {"apps", "batch", "apiextensions.k8s.io"} <= groups, groups
    assert any(row.name == "pods/exec" for row in core.get_api_resources().resources)


@step
def a_namespace_and_its_account():
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))

    def account():
        return core.list_namespaced_service_account(NAMESPACE, field_selector="metadata.name=default").items

    eventually("the default service account", account)


@step
def create_read_replace_delete():
    made = core.create_namespaced_config_map(NAMESPACE, config_map("a", text="one"))
    assert made.metadata.uid and made.metadata.creation_timestamp
    again = refused(409, core.create_namespaced_config_map, NAMESPACE, config_map("a"))
    assert again["reason"] == "AlreadyExists" and again["message"] == 'configmaps "a" already exists', again
    newer = core.read_namespaced_config_map("a", NAMESPACE)
    newer.data["text"] = "two"
    core.replace_namespaced_config_map("a", NAMESPACE, newer)
    stale = refused(409, core.replace_namespaced_config_map, "a", NAMESPACE, newer)
    assert stale["reason"] == "Conflict", stale
    core.create_namespaced_config_map(NAMESPACE, config_map("dry"), dry_run="All")
    assert refused(404, core.read_namespaced_config_map, "dry", NAMESPACE)["reason"] == "NotFound"
    bad = refused(422, core.create_namespaced_config_map, NAMESPACE, config_map("Bad_Name"))
    assert bad["details"]["causes"][0]["field"] == "metadata.name", bad
    generated = core.create_namespaced_config_map(
        NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(generate_name="made-"))
    )
    assert generated.metadata.name.startswith("made-")
    core.delete_namespaced_config_map(generated.metadata.name, NAMESPACE)


@step
def every_type_of_patch():
    def patched(body, content_type):
        return core.patch_namespaced_config_map("a", NAMESPACE, body, _content_type=content_type)

    assert patched({"data": {"b": "merge"}}, "application/merge-patch+json").data["b"] == "merge"
    removed = patched({"data": {"b": None}, "metadata": {"labels": {"more": "yes"}}}, "application/strategic-merge-patch+json")
    assert "b" not in removed.data and removed.metadata.labels == {"part": "tour", "more": "yes"}
    operations = [
        {"op": "test", "path": "/data/text", "value": "two"},
        {"op": "replace", "path": "/data/text", "value": "three"},
    ]
    assert patched(operations, "application/json-patch+json").data["text"] == "three"
    refused(422, patched, operations, "application/json-patch+json")


@step
def server_side_apply():
    def applied(body, manager, **kwargs):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, **body}
        return core.patch_namespaced_config_map(
            "applied", NAMESPACE, body, field_manager=manager, _content_type="application/apply-patch+yaml", **kwargs
        )

    made = applied({"data": {"x": "1", "y": "1"}}, "left")
    assert [entry.manager for entry in made.metadata.managed_fields] == ["left"], made.metadata.managed_fields
    assert made.metadata.managed_fields[0].operation == "Apply"
    applied({"data": {"z": "1"}}, "right")
    conflict = refused(409, applied, {"data": {"x": "2"}}, "right")
    assert conflict["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "left"', "field": ".data.x"}
    ], conflict
    forced = applied({"data": {"x": "2", "z": "1"}}, "right", force=True)
    assert forced.data == {"x": "2", "y": "1", "z": "1"}
    assert applied({"data": {"z": "1"}}, "left").data == {"x": "2", "z": "1"}, "what left no longer says is gone"
    resources = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"w": "1"}}
    resources.server_side_apply(body=body, namespace=NAMESPACE, field_manager="third")
    assert core.read_namespaced_config_map("applied", NAMESPACE).data["w"] == "1"


@step
def pages():
    for number in range(7):
        core.create_namespaced_config_map(NAMESPACE, config_map(f"many-{number}"))
    names, token, count = [], None, 0
    while True:
        page = core.list_namespaced_config_map(NAMESPACE, label_selector="part=tour", limit=3, _continue=token)
        names += [item.metadata.name for item in page.items]
        count, token = count + 1, page.metadata._continue
        if not token:
            break
    assert count == 3 and sorted(names) == ["a"] + [f"many-{number}" for number in range(7)], (count, names)
    refused(400, core.list_namespaced_config_map, NAMESPACE, limit=3, _continue="nonsense")
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="part=tour")
    assert not core.list_namespaced_config_map(NAMESPACE, label_selector="part=tour").items


@step
def a_watch_from_a_list():
    version = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    seen = []

    def follow():
        for event in watch.Watch().stream(
            core.list_namespaced_config_map, NAMESPACE, label_selector="watched=yes", resource_version=version
        ):
            seen.append((event["type"], (event["object"].data or {}).get("text")))
            if event["type"] == "DELETED":
                return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    made = config_map("seen", text="one")
    made.metadata.labels = {"watched": "yes"}
    core.create_namespaced_config_map(NAMESPACE, made)
    core.patch_namespaced_config_map("seen", NAMESPACE, {"data": {"text": "two"}})
    core.delete_namespaced_config_map("seen", NAMESPACE)
    follower.join(PATIENCE)
    assert seen == [("ADDED", "one"), ("MODIFIED", "two"), ("DELETED", "two")], seen


@step
def a_watch_that_is_too_late_starts_again():
    try:
        for event in watch.Watch().stream(core.list_namespaced_config_map, NAMESPACE, resource_version=OLD_VERSION):
            raise AssertionError(f"an event of a forgotten past: {event}")
        raise AssertionError("the watch ended without a word")
    except ApiException as error:
        assert error.status == 410, error
    # as its documentation says: list, then watch from there
    fresh = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, config_map("after", text="410"))
    follower = watch.Watch()
    for event in follower.stream(core.list_namespaced_config_map, NAMESPACE, resource_version=fresh, timeout_seconds=PATIENCE):
        assert (event["type"], event["object"].metadata.name) == ("ADDED", "after"), event
        follower.stop()


@step
def a_watch_that_lists():
    """What client libraries call WatchList: the state first, then a bookmark, then changes."""
    response = core.list_namespaced_config_map(
        NAMESPACE, watch=True, send_initial_events=True, resource_version_match="NotOlderThan",
        allow_watch_bookmarks=True, timeout_seconds=PATIENCE, _preload_content=False,
    )
    names = []
    for line in response:
        event = json.loads(line)
        if event["type"] == "BOOKMARK":
            assert event["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}, event
            break
        assert event["type"] == "ADDED", event
        names.append(event["object"]["metadata"]["name"])
    response.close()
    assert "after" in names and "kube-root-ca.crt" in names, names


@step
def a_deployment_is_made_and_scaled():
    labels = {"app": "web"}
    container = client.V1Container(name="web", image=IMAGE, command=["httpd", "-f", "-p", "8080", "-h", "/etc"])
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels),
        spec=client.V1PodSpec(containers=[container], termination_grace_period_seconds=0),
    )
    spec = client.V1DeploymentSpec(selector=client.V1LabelSelector(match_labels=labels), template=template, replicas=0)
    apps.create_namespaced_deployment(NAMESPACE, client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec))
    scale = apps.read_namespaced_deployment_scale("web", NAMESPACE)
    scale.spec.replicas = 1
    scale.metadata.resource_version = None  # the controller may have written its status since
    apps.replace_namespaced_deployment_scale("web", NAMESPACE, scale)

    def ready():
        status = apps.read_namespaced_deployment_status("web", NAMESPACE).status
        return status and status.ready_replicas == 1

    eventually("it is there", ready)


@step
def logs_exec_and_a_forwarded_port():
    command = ["sh", "-c", "echo one; echo two; echo page >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "talker", "namespace": NAMESPACE},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": IMAGE, "command": command}]},
    }
    utils.create_from_dict(api, pod)
    eventually("it runs", lambda: core.read_namespaced_pod("talker", NAMESPACE).status.phase == "Running")

    def spoken():
        # as text this client shows the bytes' Python notation
        return core.read_namespaced_pod_log("talker", NAMESPACE, _preload_content=False).data

    eventually("it has spoken", lambda: spoken() == b"one\ntwo\n")
    followed = watch.Watch()
    for line in followed.stream(core.read_namespaced_pod_log, "talker", NAMESPACE, follow=True):
        if line == "two":
            followed.stop()

    said = stream.stream(
        core.connect_get_namespaced_pod_exec, "talker", NAMESPACE, command=["cat", "/tmp/index.html"],
        stdout=True, stderr=True, stdin=False, tty=False,
    )
    assert said == "page\n", said
    running = stream.stream(
        core.connect_get_namespaced_pod_exec, "talker", NAMESPACE, command=["sh", "-c", "read x; echo got $x; echo err >&2; exit 3"],
        stdout=True, stderr=True, stdin=True, tty=False, _preload_content=False,
    )
    running.write_stdin("this\n")
    running.run_forever(timeout=PATIENCE)
    assert running.read_stdout() == "got this\n" and running.read_stderr() == "err\n"
    assert running.returncode == 3, running.returncode

    forward = stream.portforward(core.connect_get_namespaced_pod_portforward, "talker", NAMESPACE, ports="8080")
    socket = forward.socket(8080)
    socket.settimeout(PATIENCE)
    socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while b"page" not in answer:
        piece = socket.recv(4096)
        assert piece, f"the forwarded connection ended with {answer!r}; {forward.error(8080)}"
        answer += piece
    forward.close()


@step
def a_definition_and_its_objects():
    text = pathlib.Path(os.environ["BOATS"]).read_text().replace("GROUP", GROUP)
    extensions.create_custom_resource_definition(json.loads(text))

    def established():
        status = extensions.read_custom_resource_definition(f"boats.{GROUP}").status
        conditions = (status and status.conditions) or []
        return {"Established", "NamesAccepted"} <= {each.type for each in conditions if each.status == "True"}

    eventually("it is established", established)
    place = (GROUP, "v1", NAMESPACE, "boats")
    boat = {"apiVersion": f"{GROUP}/v1", "kind": "Boat", "metadata": {"name": "snekke"}, "spec": {"length": 17, "paint": "red"}}
    made = custom.create_namespaced_custom_object(*place, boat)
    assert made["spec"] == {"length": 17, "crew": 6}, "defaulted and pruned: " + str(made["spec"])
    told = refused(422, custom.create_namespaced_custom_object, *place, {**boat, "metadata": {"name": "b"}, "spec": {"length": 70}})
    assert "spec.length: Invalid value: 70: spec.length in body should be less than or equal to 60" in told["message"], told
    told = refused(422, custom.patch_namespaced_custom_object, *place, "snekke", {"spec": {"crew": 30}}, _content_type="application/merge-patch+json")
    assert "the crew does not fit" in told["message"], told
    status = custom.patch_namespaced_custom_object_status(
        *place, "snekke", {"status": {"port": "Bergen"}, "spec": {"crew": 1}}, _content_type="application/merge-patch+json"
    )
    assert status["status"] == {"port": "Bergen"} and status["spec"]["crew"] == 6, status
    assert custom.get_namespaced_custom_object_scale(*place, "snekke")["spec"]["replicas"] == 6


@step
def custom_objects_by_the_dynamic_client():
    boats = dynamic.DynamicClient(api).resources.get(api_version=f"{GROUP}/v1", kind="Boat")
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Boat", "metadata": {"name": "knarr"}, "spec": {"length": 20, "cargo": [{"name": "wool", "tons": 3}]}}
    applied = boats.server_side_apply(body=body, namespace=NAMESPACE, field_manager="merchant")
    assert applied.spec.crew == 6
    body["spec"] = {"length": 20, "cargo": [{"name": "iron", "tons": "half"}]}
    boats.server_side_apply(body=body, namespace=NAMESPACE, field_manager="smith")
    both = boats.get(name="knarr", namespace=NAMESPACE)
    assert sorted(item.name for item in both.spec.cargo) == ["iron", "wool"], both.spec.cargo
    listed = boats.get(namespace=NAMESPACE)
    assert [item.metadata.name for item in listed.items] == ["knarr", "snekke"]
    seen = []
    boats.delete(name="snekke", namespace=NAMESPACE)
    for event in boats.watch(namespace=NAMESPACE, resource_version=listed.metadata.resourceVersion, timeout=PATIENCE):
        seen.append((event["type"], event["object"].metadata.name))
        break
    assert seen == [("DELETED", "snekke")], seen
    extensions.delete_custom_resource_definition(f"boats.{GROUP}")

    def gone():
        try:
            custom.list_namespaced_custom_object(GROUP, "v1", NAMESPACE, "boats")
        except ApiException as error:
            return error.status == 404
        return False

    eventually("the definition takes its objects along", gone)


def main():
    failed = []
    for function in steps:
        name = function.__name__.replace("_", " ")
        print(f"- {name}", flush=True)
        try:
            function()
        except Exception:
            failed.append(name)
            print(f"the step {name!r} failed:\n{traceback.format_exc()}", flush=True)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


main()
