// A tour with @kubernetes/client-node: what people's programs do, step by step. Each step that fails is named.
//
// Everything happens in a namespace of its own. IMAGE is an image with a shell and httpd, OLD_VERSION a
// resourceVersion of ConfigMaps that the server has forgotten, BOATS the file of a definition.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { PassThrough, Readable } from 'node:stream';
import * as k8s from '@kubernetes/client-node';

const namespace = 'tour-node';
const group = 'node.tours.example.com';
const { IMAGE, OLD_VERSION, BOATS } = process.env;
const PATIENCE = 60_000;

const kc = new k8s.KubeConfig();
kc.loadFromDefault();
const core = kc.makeApiClient(k8s.CoreV1Api);
const apps = kc.makeApiClient(k8s.AppsV1Api);
const extensions = kc.makeApiClient(k8s.ApiextensionsV1Api);
const custom = kc.makeApiClient(k8s.CustomObjectsApi);
const objects = k8s.KubernetesObjectApi.makeApiClient(kc);
const { MergePatch, JsonPatch, StrategicMergePatch, ServerSideApply } = k8s.PatchStrategy;

const as = (contentType) => k8s.setHeaderOptions('Content-Type', contentType);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function eventually(what, check) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
        const found = await check();
        if (found) return found;
        assert.ok(Date.now() < deadline, `not in time: ${what}`);
        await pause(50);
    }
}

function within(what, promise) {
    const late = pause(PATIENCE).then(() => assert.fail(`not in time: ${what}`));
    return Promise.race([promise, late]);
}

/// The Status that refuses a call, which must have this code.
async function refused(code, call) {
    try {
        await call();
    } catch (error) {
        assert.equal(error.code, code, `${error.message ?? error}`);
        return typeof error.body === 'string' ? JSON.parse(error.body) : error.body;
    }
    assert.fail(`nothing refused it with ${code}`);
}

const configMap = (name, data, labels = { part: 'tour' }) => ({ metadata: { name, labels }, data });

function collected() {
    const stream = new PassThrough();
    let text = '';
    stream.on('data', (piece) => (text += piece));
    return [stream, () => text];
}

const steps = {
    async 'version and discovery'() {
        assert.match((await kc.makeApiClient(k8s.VersionApi).getCode()).gitVersion, /^v1\.36/);
        const groups = (await kc.makeApiClient(k8s.ApisApi).getAPIVersions()).groups.map((group) => group.name);
        assert.ok(groups.includes('apps') && groups.includes('apiextensions.k8s.io'), groups);
    },

    async 'a namespace and its account'() {
        await core.createNamespace({ body: { metadata: { name: namespace } } });
        const fieldSelector = 'metadata.name=default';
        const account = async () => (await core.listNamespacedServiceAccount({ namespace, fieldSelector })).items.length;
        await eventually('the default service account', account);
    },

    async 'create, read, replace, delete'() {
        const made = await core.createNamespacedConfigMap({ namespace, body: configMap('a', { text: 'one' }) });
        assert.ok(made.metadata.uid && made.metadata.creationTimestamp instanceof Date);
        const again = await refused(409, () => core.createNamespacedConfigMap({ namespace, body: configMap('a') }));
        assert.equal(again.reason, 'AlreadyExists');
        const newer = await core.readNamespacedConfigMap({ namespace, name: 'a' });
        newer.data.text = 'two';
        await core.replaceNamespacedConfigMap({ namespace, name: 'a', body: newer });
        const stale = await refused(409, () => core.replaceNamespacedConfigMap({ namespace, name: 'a', body: newer }));
        assert.equal(stale.reason, 'Conflict');
        await core.createNamespacedConfigMap({ namespace, body: configMap('dry'), dryRun: 'All' });
        assert.equal((await refused(404, () => core.readNamespacedConfigMap({ namespace, name: 'dry' }))).reason, 'NotFound');
        const bad = await refused(422, () => core.createNamespacedConfigMap({ namespace, body: configMap('Bad_Name') }));
        assert.equal(bad.details.causes[0].field, 'metadata.name');
        const generated = await core.createNamespacedConfigMap({ namespace, body: { metadata: { generateName: 'made-' } } });
        assert.match(generated.metadata.name, /^made-/);
        assert.equal((await core.deleteNamespacedConfigMap({ namespace, name: generated.metadata.name })).status, 'Success');
    },

    async 'every type of patch'() {
        const patch = (body, strategy) => core.patchNamespacedConfigMap({ namespace, name: 'a', body }, as(strategy));
        assert.equal((await patch({ data: { b: 'merge' } }, MergePatch)).data.b, 'merge');
        const removed = await patch({ data: { b: null }, metadata: { labels: { more: 'yes' } } }, StrategicMergePatch);
        assert.deepEqual([removed.data, removed.metadata.labels], [{ text: 'two' }, { part: 'tour', more: 'yes' }]);
        const operations = [
            { op: 'test', path: '/data/text', value: 'two' },
            { op: 'replace', path: '/data/text', value: 'three' },
        ];
        assert.equal((await patch(operations, JsonPatch)).data.text, 'three');
        await refused(422, () => patch(operations, JsonPatch));
    },

    async 'server-side apply'() {
        const apply = (data, fieldManager, force) => {
            const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied' }, data };
            return core.patchNamespacedConfigMap({ namespace, name: 'applied', body, fieldManager, force }, as(ServerSideApply));
        };
        const made = await apply({ x: '1', y: '1' }, 'left');
        assert.deepEqual(made.metadata.managedFields.map((entry) => [entry.manager, entry.operation]), [['left', 'Apply']]);
        const conflict = await refused(409, () => apply({ x: '2' }, 'right'));
        assert.deepEqual(conflict.details.causes, [
            { reason: 'FieldManagerConflict', message: 'conflict with "left"', field: '.data.x' },
        ]);
        assert.deepEqual((await apply({ x: '2' }, 'right', true)).data, { x: '2', y: '1' });
        assert.deepEqual((await apply({}, 'left')).data, { x: '2' }, 'what left no longer says is gone');
        const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied', namespace }, data: { w: '1' } };
        const third = await objects.patch(body, undefined, undefined, 'third', false, ServerSideApply);
        assert.deepEqual(third.data, { x: '2', w: '1' });
    },

    async pages() {
        for (let number = 0; number < 7; number++) {
            await core.createNamespacedConfigMap({ namespace, body: configMap(`many-${number}`) });
        }
        const names = [];
        let [count, _continue] = [0, undefined];
        do {
            const page = await core.listNamespacedConfigMap({ namespace, labelSelector: 'part=tour', limit: 3, _continue });
            names.push(...page.items.map((item) => item.metadata.name));
            _continue = page.metadata._continue;
            count++;
        } while (_continue);
        assert.deepEqual([count, names.sort()], [3, ['a', ...[0, 1, 2, 3, 4, 5, 6].map((number) => `many-${number}`)]]);
        await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: 'part=tour' });
        assert.equal((await core.listNamespacedConfigMap({ namespace, labelSelector: 'part=tour' })).items.length, 0);
    },

    async 'a watch from a list'() {
        const { resourceVersion } = (await core.listNamespacedConfigMap({ namespace })).metadata;
        const seen = [];
        const path = `/api/v1/namespaces/${namespace}/configmaps`;
        let request;
        const followed = new Promise((done, failed) => {
            const event = (phase, object) => {
                seen.push([phase, object.data?.text]);
                if (phase === 'DELETED') done();
            };
            const started = new k8s.Watch(kc).watch(path, { resourceVersion, labelSelector: 'watched=yes' }, event, failed);
            started.then((controller) => (request = controller), failed);
        });
        await core.createNamespacedConfigMap({ namespace, body: configMap('seen', { text: 'one' }, { watched: 'yes' }) });
        await core.patchNamespacedConfigMap({ namespace, name: 'seen', body: { data: { text: 'two' } } }, as(MergePatch));
        await core.deleteNamespacedConfigMap({ namespace, name: 'seen' });
        await within('three events', followed);
        request.abort();
        assert.deepEqual(seen, [['ADDED', 'one'], ['MODIFIED', 'two'], ['DELETED', 'two']]);
    },

    async 'an informer that is too late starts again'() {
        let lists = 0;
        const errors = [];
        // the first list claims to be from a past that the server has forgotten, so that the watch after it ends with 410
        const list = async () => {
            const listed = await core.listNamespacedConfigMap({ namespace });
            lists += 1;
            if (lists === 1) listed.metadata.resourceVersion = OLD_VERSION;
            return listed;
        };
        const informer = k8s.makeInformer(kc, `/api/v1/namespaces/${namespace}/configmaps`, list);
        informer.on('error', (error) => errors.push(error));
        const added = new Promise((done) => informer.on('add', (object) => object.metadata.name === 'after' && done()));
        await informer.start();
        await eventually('it has listed again', () => lists >= 2);
        await core.createNamespacedConfigMap({ namespace, body: configMap('after', { text: '410' }) });
        await within('the object made after the restart', added);
        assert.equal(informer.get('after', namespace).data.text, '410');
        await informer.stop();
        assert.deepEqual(errors, []);
    },

    async 'a deployment is made and scaled'() {
        const labels = { app: 'web' };
        const container = { name: 'web', image: IMAGE, command: ['httpd', '-f', '-p', '8080', '-h', '/etc'] };
        const template = { metadata: { labels }, spec: { containers: [container], terminationGracePeriodSeconds: 0 } };
        const body = { metadata: { name: 'web' }, spec: { replicas: 0, selector: { matchLabels: labels }, template } };
        await apps.createNamespacedDeployment({ namespace, body });
        const scale = await apps.readNamespacedDeploymentScale({ namespace, name: 'web' });
        scale.spec.replicas = 1;
        delete scale.metadata.resourceVersion; // the controller may have written its status since
        await apps.replaceNamespacedDeploymentScale({ namespace, name: 'web', body: scale });
        const ready = async () => (await apps.readNamespacedDeploymentStatus({ namespace, name: 'web' })).status.readyReplicas;
        await eventually('it is there', async () => (await ready()) === 1);
    },

    async 'logs and exec'() {
        const command = ['sh', '-c', 'echo one; echo two; echo page >/tmp/index.html; exec httpd -f -p 8080 -h /tmp'];
        const spec = { terminationGracePeriodSeconds: 0, containers: [{ name: 'c', image: IMAGE, command }] };
        await core.createNamespacedPod({ namespace, body: { metadata: { name: 'talker' }, spec } });
        const phase = async () => (await core.readNamespacedPod({ namespace, name: 'talker' })).status.phase;
        await eventually('it runs', async () => (await phase()) === 'Running');
        const log = () => core.readNamespacedPodLog({ namespace, name: 'talker' });
        await eventually('it has spoken', async () => (await log()) === 'one\ntwo\n');
        const [followed, followedText] = collected();
        await new k8s.Log(kc).log(namespace, 'talker', 'c', followed, { follow: true, tailLines: 1 });
        await eventually('the followed log', () => followedText() === 'two\n');

        const [out, outText] = collected();
        const [err, errText] = collected();
        const script = 'read x; echo got $x; echo err >&2; exit 3';
        const status = await within('the end of exec', new Promise((done, failed) => {
            const input = Readable.from(['this\n']);
            const running = new k8s.Exec(kc).exec(namespace, 'talker', 'c', ['sh', '-c', script], out, err, input, false, done);
            running.catch(failed);
        }));
        assert.deepEqual([outText(), errText()], ['got this\n', 'err\n']);
        assert.equal(status.status, 'Failure');
        assert.deepEqual(status.details.causes, [{ reason: 'ExitCode', message: '3' }]);
    },

    async 'a forwarded port'() {
        const [answer, answerText] = collected();
        const input = new PassThrough();
        const forward = new k8s.PortForward(kc);
        const socket = await forward.portForward(namespace, 'talker', [8080], answer, null, input);
        input.write('GET / HTTP/1.0\r\n\r\n');
        await eventually('the page', () => answerText().includes('page'));
        socket.close();
    },

    async 'a definition and its objects'() {
        const text = fs.readFileSync(BOATS, 'utf8').replaceAll('GROUP', group);
        await extensions.createCustomResourceDefinition({ body: k8s.loadYaml(text) });
        await eventually('it is established', async () => {
            const { status } = await extensions.readCustomResourceDefinition({ name: `boats.${group}` });
            return status?.conditions?.some((each) => each.type === 'Established' && each.status === 'True');
        });
        const place = { group, version: 'v1', namespace, plural: 'boats' };
        const boat = (name, spec) => ({ apiVersion: `${group}/v1`, kind: 'Boat', metadata: { name, namespace }, spec });
        const made = await custom.createNamespacedCustomObject({ ...place, body: boat('snekke', { length: 17, paint: 'red' }) });
        assert.deepEqual(made.spec, { length: 17, crew: 6 }, 'defaulted and pruned');
        const told = await refused(422, () => custom.createNamespacedCustomObject({ ...place, body: boat('b', { length: 70 }) }));
        assert.match(told.message, /spec.length: Invalid value: 70: spec.length in body should be less than or equal to 60/);
        const changed = { ...place, name: 'snekke', body: { spec: { length: 18 } } };
        assert.match((await refused(422, () => custom.patchNamespacedCustomObject(changed, as(MergePatch)))).message, /a boat does not grow/);
        const status = { ...place, name: 'snekke', body: { status: { port: 'Bergen' } } };
        assert.equal((await custom.patchNamespacedCustomObjectStatus(status, as(MergePatch))).status.port, 'Bergen');

        const applied = await objects.patch(boat('knarr', { length: 20, cargo: [{ name: 'wool', tons: 3 }] }), undefined, undefined, 'merchant', true, ServerSideApply);
        assert.deepEqual(applied.spec.cargo, [{ name: 'wool', tons: 3 }]);
        assert.equal((await objects.read(boat('knarr'))).spec.crew, 6);
        const listed = await objects.list(`${group}/v1`, 'Boat', namespace);
        assert.deepEqual(listed.items.map((item) => item.metadata.name), ['knarr', 'snekke']);
        const seen = new Promise((done, failed) => {
            const path = `/apis/${group}/v1/namespaces/${namespace}/boats`;
            const { resourceVersion } = listed.metadata;
            const event = (phase, object) => done([phase, object.metadata.name]);
            new k8s.Watch(kc).watch(path, { resourceVersion, timeoutSeconds: 60 }, event, failed).catch(failed);
        });
        await objects.delete(boat('snekke'));
        assert.deepEqual(await within('the event', seen), ['DELETED', 'snekke']);
        await extensions.deleteCustomResourceDefinition({ name: `boats.${group}` });
        await eventually('the definition takes its objects along', async () => {
            const gone = custom.listNamespacedCustomObject(place).then(() => 200, (error) => error.code);
            return (await gone) === 404;
        });
    },
};

const failed = [];
for (const [name, step] of Object.entries(steps)) {
    console.log(`- ${name}`);
    try {
        await step();
    } catch (error) {
        failed.push(name);
        console.log(`the step '${name}' failed:`, error);
    }
}
if (failed.length > 0) console.error(`failed: ${failed.join(', ')}`);
process.exit(failed.length > 0 ? 1 : 0);
