//! Images made on the spot: layers, configurations, archives of both kinds.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) fn digest(data: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(data)))
}

pub(crate) fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(text.len() as u64);
        builder.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) struct Made {
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) config: Vec<u8>,
}

impl Made {
    pub(crate) fn new(layers: Vec<Vec<u8>>) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {
                "Entrypoint": ["/bin/app"], "Cmd": null, "Env": ["A=1"], "User": "web",
                "ExposedPorts": { "8080/tcp": {} }, "StopSignal": "SIGQUIT",
            },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        Self { layers, config: config.to_string().into_bytes() }
    }

    pub(crate) fn two_layers() -> Self {
        Self::new(vec![layer(&[("bin/app", "one"), ("etc/old", "x")]), layer(&[("etc/.wh.old", ""), ("etc/new", "y")])])
    }

    pub(crate) fn id(&self) -> String {
        digest(&self.config)
    }

    pub(crate) fn manifest(&self) -> Vec<u8> {
        let layer = |data: &Vec<u8>| {
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(data), "size": data.len(),
            })
        };
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": self.id(), "size": self.config.len(),
            },
            "layers": self.layers.iter().map(layer).collect::<Vec<Value>>(),
        })
        .to_string()
        .into_bytes()
    }

    pub(crate) fn docker_archive(&self, tags: &[&str]) -> Vec<u8> {
        let names: Vec<String> = (0..self.layers.len()).map(|index| format!("{index}/layer.tar")).collect();
        let mut members: Vec<(String, Vec<u8>)> = names.iter().cloned().zip(self.layers.clone()).collect();
        members.push(("config.json".into(), self.config.clone()));
        let list = json!([{ "Config": "config.json", "RepoTags": tags, "Layers": names }]);
        members.push(("manifest.json".into(), list.to_string().into_bytes()));
        archive(&members)
    }

    pub(crate) fn oci_archive(&self, annotations: &Value) -> Vec<u8> {
        let manifest = self.manifest();
        let blob = |data: &[u8]| (format!("./blobs/{}", digest(data).replace(':', "/")), data.to_vec());
        let index = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&manifest),
            "size": manifest.len(), "annotations": annotations,
        }] });
        let mut members = vec![
            ("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".into(), index.to_string().into_bytes()),
            blob(&manifest),
            blob(&self.config),
        ];
        members.extend(self.layers.iter().map(|layer| blob(layer)));
        archive(&members)
    }
}

pub(crate) fn archive(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, data) in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        builder.append_data(&mut header, path, data.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}
