//! Which user and groups a container runs as.
//!
//! Names are looked up in the image's own `/etc/passwd` and `/etc/group`, as containerd does:
//! `runAsUser` and `runAsGroup` replace the image's numbers, memberships in `/etc/group` are added.

use super::spec::ContainerSpec;
use super::status::StartError;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups, sorted.
    pub(super) groups: Vec<u32>,
    /// From `/etc/passwd`; empty when the user has no entry.
    pub(super) home: String,
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// `passwd` and `group` are the texts of the files, empty when the image has none.
pub(super) fn resolve(spec: &ContainerSpec, passwd: &str, group: &str) -> Result<User, StartError> {
    check_non_root(spec)?;
    let (image_user, image_group) = match spec.image.config.user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec.image.config.user.as_str(), None),
    };
    let wanted = match spec.security.run_as_user {
        Some(uid) => uid.to_string(),
        None if image_user.is_empty() => "0".to_owned(),
        None => image_user.to_owned(),
    };
    let entry = find_user(&wanted, passwd);
    let uid = match (&entry, wanted.parse()) {
        (Some(entry), _) => entry.uid,
        (None, Ok(uid)) => uid,
        (None, Err(_)) => {
            return Err(StartError::create(format!(
                "unable to find user {wanted}: no matching entries in passwd file"
            )));
        }
    };
    // the image's group belongs to the image's user only
    let image_group = image_group.filter(|_| spec.security.run_as_user.is_none());
    let gid = match (spec.security.run_as_group, image_group) {
        (Some(gid), _) => number(gid, "runAsGroup")?,
        (None, Some(wanted)) => find_group(wanted, group)?,
        (None, None) => entry.as_ref().map_or(0, |entry| entry.gid),
    };
    let mut groups = vec![gid];
    if let Some(entry) = &entry {
        groups.extend(memberships(entry.name, group));
    }
    for extra in &spec.security.supplemental_groups {
        groups.push(number(*extra, "supplementalGroups")?);
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(User { uid, gid, groups, home: entry.map(|entry| entry.home.to_owned()).unwrap_or_default() })
}

/// `runAsNonRoot`, with upstream's words.
fn check_non_root(spec: &ContainerSpec) -> Result<(), StartError> {
    if !spec.security.run_as_non_root {
        return Ok(());
    }
    let place =
        format!("(pod: \"{}_{}({})\", container: {})", spec.pod.name, spec.pod.namespace, spec.pod.uid, spec.name);
    let user = spec.image.config.user.split(':').next().unwrap_or_default();
    let refusal = match spec.security.run_as_user {
        Some(0) => format!("container's runAsUser breaks non-root policy {place}"),
        Some(_) => return Ok(()),
        None if user.is_empty() || user.parse() == Ok(0u32) => {
            format!("container has runAsNonRoot and image will run as root {place}")
        }
        None if user.parse::<u32>().is_err() => {
            format!(
                "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {place}"
            )
        }
        None => return Ok(()),
    };
    Err(StartError::config(refusal))
}

fn number(value: i64, field: &str) -> Result<u32, StartError> {
    u32::try_from(value).map_err(|_| StartError::config(format!("{field} {value} is not a valid id")))
}

fn entries(passwd: &str) -> impl Iterator<Item = Entry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        let home = fields.nth(1).unwrap_or_default();
        Some(Entry { name, uid, gid, home })
    })
}

/// By name, or by number.
fn find_user<'a>(wanted: &str, passwd: &'a str) -> Option<Entry<'a>> {
    let uid = wanted.parse().ok();
    entries(passwd).find(|entry| entry.name == wanted).or_else(|| entries(passwd).find(|entry| Some(entry.uid) == uid))
}

fn find_group(wanted: &str, group: &str) -> Result<u32, StartError> {
    let named = group.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == wanted).then(|| fields.nth(1)?.parse().ok())?
    });
    named
        .or_else(|| wanted.parse().ok())
        .ok_or_else(|| StartError::create(format!("unable to find group {wanted}: no matching entries in group file")))
}

fn memberships<'a>(name: &'a str, group: &'a str) -> impl Iterator<Item = u32> + 'a {
    group.lines().filter_map(move |line| {
        let mut fields = line.split(':');
        let gid = fields.nth(2)?.parse().ok()?;
        fields.next()?.split(',').any(|member| member == name).then_some(gid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44:web:/srv:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:44:\nlogs:x:50:web,other\ntape:x:60:other\n";

    fn check(image_user: &str, change: impl FnOnce(&mut ContainerSpec), expected: &Expect) {
        let mut spec = ContainerSpec { name: "c".into(), ..ContainerSpec::default() };
        spec.pod = super::super::PodRef { uid: "u".into(), namespace: "ns".into(), name: "p".into() };
        spec.image.config.user = image_user.into();
        change(&mut spec);
        expected.assert_eq(&match resolve(&spec, PASSWD, GROUP) {
            Ok(user) => format!("{}:{} {:?} {}", user.uid, user.gid, user.groups, user.home),
            Err(error) => format!("{}: {error}", error.reason.as_str()),
        });
    }

    #[test]
    fn without_a_user_it_is_root() {
        check("", |_| {}, &expect!["0:0 [0] /root"]);
    }

    #[test]
    fn a_name_brings_its_group_and_memberships() {
        check("web", |_| {}, &expect!["33:44 [44, 50] /srv"]);
        check("web:logs", |_| {}, &expect!["33:50 [50] /srv"]);
        check("7:8", |_| {}, &expect!["7:8 [8] "]);
    }

    #[test]
    fn the_pod_wins_over_the_image() {
        check("web:logs", |s| s.security.run_as_user = Some(1000), &expect!["1000:0 [0] "]);
        check(
            "web",
            |s| {
                s.security.run_as_user = Some(33);
                s.security.run_as_group = Some(9);
                s.security.supplemental_groups = vec![2000, 9];
            },
            &expect!["33:9 [9, 50, 2000] /srv"],
        );
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        check(
            "nobody",
            |_| {},
            &expect!["CreateContainerError: unable to find user nobody: no matching entries in passwd file"],
        );
    }

    #[test]
    fn non_root_is_verified_in_upstreams_words() {
        let non_root = |s: &mut ContainerSpec| s.security.run_as_non_root = true;
        check(
            "",
            non_root,
            &expect![[
                r#"CreateContainerConfigError: container has runAsNonRoot and image will run as root (pod: "p_ns(u)", container: c)"#
            ]],
        );
        check(
            "web",
            non_root,
            &expect![[
                r#"CreateContainerConfigError: container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root (pod: "p_ns(u)", container: c)"#
            ]],
        );
        check("33", non_root, &expect!["33:44 [44, 50] /srv"]);
        check(
            "33",
            |s| {
                s.security.run_as_non_root = true;
                s.security.run_as_user = Some(0);
            },
            &expect![[
                r#"CreateContainerConfigError: container's runAsUser breaks non-root policy (pod: "p_ns(u)", container: c)"#
            ]],
        );
    }
}
