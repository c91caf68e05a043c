//! Who has the right password, and what that costs.

use proptest::prelude::*;

use super::*;
use crate::settings;
use crate::tests::{ask, means_and_clock, sources};

/// Made by `openssl passwd` and `htpasswd -nbB`.
const HASHES: &[(&str, &str)] = &[
    ("secret", "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"),
    ("a much longer password than sixteen", "$apr1$abcdefgh$CWmSdRXg6.q2WlUC6/oKv1"),
    ("", "$apr1$abcdefgh$L.PT565ESX4Tp2bqNs7Ie."),
    ("secret", "$1$abcd$Oy8OD9LGKv7H9yIMreLNV1"),
    ("secret", "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA"),
    ("secret", "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1"),
    ("secret", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
];

#[test]
fn every_form_of_hash_knows_its_password_and_no_other() {
    let made = bcrypt::hash("secret", 4).expect("a hash");
    let salted = {
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, b"secretsalt");
        format!("{{SSHA}}{}", STANDARD.encode([digest.as_ref(), b"salt"].concat()))
    };
    let more = [("secret", made.as_str()), ("secret", salted.as_str()), ("secret", &made.replacen("$2b$", "$2y$", 1))];
    for (password, text) in HASHES.iter().chain(&more) {
        let hash = Hash::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert!(hash.matches(password), "{text}");
        for wrong in ["Secret", "secre", "secret ", "wrong"] {
            assert!(!hash.matches(wrong), "{text} is not of {wrong}");
        }
    }
}

#[test]
fn hashes_that_nobody_should_use_are_refused() {
    for (text, expected) in [
        ("secret", "no accepted form"),
        ("rl.3StKT.4T8M", "no accepted form"),
        ("", "no accepted form"),
        ("$2y$31$0123456789012345678901uHG8gK1JgZZbHhiRNTgFkCVSE1eK3Yu", "cost 31 is above"),
        ("$2y$10$short", "malformed"),
        ("{SHA}short", "20 bytes"),
        ("$6$rounds=999999999$salt$x", "rounds"),
        ("$6$salt", "malformed"),
        ("$apr1$nosalt", "no salt"),
    ] {
        let why = Hash::parse(text).expect_err(text);
        assert!(why.contains(expected), "{text}: {why}");
        assert!(text.is_empty() || !why.contains(text), "the hash is not told");
    }
}

#[test]
fn a_file_of_htpasswd_is_read_line_by_line() {
    let users = htpasswd::parse("# staff\n\nann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\r\nbob:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/:a comment\nann:$1$x$y\n").expect("right");
    assert_eq!(users.keys().collect::<Vec<_>>(), ["ann", "bob"]);
    assert!(users["ann"].matches("secret"), "the first line of a user counts");
    assert_eq!(
        htpasswd::parse("ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\nbob\n").expect_err("no colon"),
        "line 2 is not user:hash"
    );
    assert!(htpasswd::parse("ann:plain").expect_err("plain").starts_with("line 1: the hash is of no accepted form"));
}

fn basic(form: BasicForm, data: &[(&str, &str)]) -> Result<(Basic, crate::tests::Hand), String> {
    let (means, clock) = means_and_clock();
    let written = settings::Basic {
        secret: "users".to_owned(),
        form,
        realm: "say \"hi\"".to_owned(),
        user_header: Some("X-User".to_owned()),
        forward: false,
    };
    let mut faults = Faults::default();
    let made = Basic::new(&written, &sources(&[("secret users", data)]), &means, &mut faults);
    faults.or(made).map(|made| (made, clock)).map_err(|faults| faults.to_string())
}

async fn status(basic: &Basic, pair: &str) -> u16 {
    let header = format!("Basic {}", STANDARD.encode(pair));
    match basic.ask(&ask("GET", "https://a.example/", &[("authorization", &header)]).asked()).await {
        Outcome::Pass(_) => 200,
        Outcome::Refuse(answer) => answer.status().as_u16(),
    }
}

#[tokio::test]
async fn the_right_password_passes_and_the_backend_learns_the_name_alone() {
    let (basic, _) = basic(BasicForm::Map, &[("ann", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")]).expect("users");
    let header = format!("bAsIc {}", STANDARD.encode("ann:secret"));
    let outcome = basic.ask(&ask("GET", "https://a.example/", &[("authorization", &header)]).asked()).await;
    let Outcome::Pass(pass) = outcome else { panic!("not passed") };
    assert_eq!(
        (pass.set[0].0.as_str(), pass.set[0].1.as_bytes(), pass.remove.as_slice()),
        ("x-user", b"ann".as_slice(), [AUTHORIZATION].as_slice())
    );
    for wrong in ["ann:Secret", "ann:", ":secret", "bob:secret", "ann", "annsecret:", "ann\0:secret"] {
        assert_eq!(status(&basic, wrong).await, 401, "{wrong}");
    }
    let Outcome::Refuse(answer) = basic.ask(&ask("GET", "https://a.example/", &[]).asked()).await else {
        panic!("passed")
    };
    assert_eq!(answer.headers()["www-authenticate"], "Basic realm=\"say \\\"hi\\\"\", charset=\"UTF-8\"");
    let bytes = format!("Basic {}", "A".repeat(5000));
    let long = basic.ask(&ask("GET", "https://a.example/", &[("authorization", &bytes)]).asked()).await;
    assert!(matches!(long, Outcome::Refuse(_)));
}

#[tokio::test]
async fn a_dear_hash_is_computed_once_for_a_password_and_never_remembered_as_text() {
    let cost = 11;
    let hash = bcrypt::hash("secret", cost).expect("a hash");
    let (basic, clock) = basic(BasicForm::Map, &[("ann", &hash)]).expect("users");
    for _ in 0..200 {
        assert_eq!(status(&basic, "ann:secret").await, 200);
        assert_eq!(status(&basic, "ann:wrong").await, 401);
        assert_eq!(status(&basic, "bob:secret").await, 401);
    }
    assert_eq!(basic.known(&digest(&basic.key, "ann", "secret"), clock.now()), Some(true));
    assert_eq!(basic.known(&digest(&basic.key, "bob", "secret"), clock.now()), Some(false));
    clock.pass(REMEMBER);
    assert_eq!(basic.known(&digest(&basic.key, "ann", "secret"), clock.now()), None);
    assert_ne!(digest(&basic.key, "ann", "secret"), digest(&basic.key, "anns", "ecret"));
}

#[tokio::test]
async fn when_too_many_passwords_wait_the_next_is_told_to_come_again() {
    let (basic, _) = basic(BasicForm::Map, &[("ann", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=")]).expect("users");
    let _all = basic.waiting.acquire_many(u32::try_from(WAITING).expect("few")).await.expect("open");
    assert_eq!(status(&basic, "ann:secret").await, 503);
}

#[tokio::test]
async fn users_that_cannot_be_read_are_told_with_their_secret() {
    for (form, data, expected) in [
        (BasicForm::File, &[][..], "Secret users: has neither the key auth nor .htpasswd"),
        (BasicForm::File, &[("auth", "")], "has no user"),
        (BasicForm::File, &[("auth", "ann:plain")], "line 1"),
        (BasicForm::Map, &[("ann", "plain")], "user ann: the hash is of no accepted form"),
    ] {
        let told = basic(form, data).err().expect("refused");
        assert!(told.contains(expected), "{told}");
    }
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "(.|\n){0,300}", hash in "(\\$(2y|apr1|1|5|6)\\$|\\{S?SHA\\})[./A-Za-z0-9$=é]{0,70}") {
        htpasswd::parse(&text).ok();
        if let Ok(hash) = Hash::parse(&hash)
            && !matches!(hash, Hash::Bcrypt(_) | Hash::ShaCrypt(_))
        {
            prop_assert!(!hash.matches("secret"));
        }
    }
}
