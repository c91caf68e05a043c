//! Dynamic updates, against a name server that takes them only signed.

use knarr_certs::dns::{Error, TsigKey, texts, update};

use super::name_server::{NameServer, key};

#[tokio::test]
async fn a_record_is_added_found_and_deleted_by_signed_updates() {
    let (context, _) = tasks::context_for_tests();
    let server = NameServer::start(&context).await;
    let (at, name) = (server.address.to_string(), "_acme-challenge.www.Example.com");
    let seconds = 1_800_000_000;
    update(&at, Some(&key()), name, "one", true, seconds).await.unwrap();
    update(&at, Some(&key()), name, "two", true, seconds).await.unwrap();
    assert_eq!(texts(&[server.address], name).await.unwrap(), ["one", "two"]);
    update(&at, Some(&key()), name, "one", false, seconds).await.unwrap();
    assert_eq!(texts(&[server.address], name).await.unwrap(), ["two"]);
    context.stop.cancel();
}

#[tokio::test]
async fn who_does_not_sign_or_asks_for_another_zone_is_told() {
    let (context, _) = tasks::context_for_tests();
    let server = NameServer::start(&context).await;
    let at = server.address.to_string();
    let unsigned = update(&at, None, "_acme-challenge.example.com", "x", true, 1).await.unwrap_err();
    assert!(unsigned.to_string().contains("to an update of zone example.com"), "{unsigned}");
    let wrong = TsigKey { secret: b"other".to_vec(), ..key() };
    assert!(update(&at, Some(&wrong), "_acme-challenge.example.com", "x", true, 1).await.is_err());
    let elsewhere = update(&at, Some(&key()), "_acme-challenge.example.org", "x", true, 1).await.unwrap_err();
    assert!(matches!(elsewhere, Error::NoZone(_)), "{elsewhere}");
    for name in ["a..b".to_owned(), "a.".repeat(200)] {
        assert!(matches!(texts(&[server.address], &name).await, Err(Error::Name(_))), "{name}");
    }
    context.stop.cancel();
}
