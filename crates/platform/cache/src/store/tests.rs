use super::*;

#[tokio::test]
async fn what_is_forgotten_because_of_a_request_is_gone_at_once() {
    let (log, counters) = (Arc::<Log>::default(), Arc::<Counters>::default());
    let store: &'static Store = Box::leak(Box::new(Store::new(0, None, log, counters)));
    let head = record::tests::head([1; 16], "http://a/", &[]);
    store.keep(head.clone(), Bytes::from_static(b"x"), store.now());
    assert!(store.find([1; 16]).await.is_some());
    let before = store.now();
    store.invalidate(vec!["http://a/".to_owned()]);
    assert!(store.find([1; 16]).await.is_none());
    store.keep(head.clone(), Bytes::from_static(b"x"), before);
    assert!(store.find([1; 16]).await.is_none(), "it was asked for before");
    store.keep(head, Bytes::from_static(b"x"), store.now());
    assert!(store.find([1; 16]).await.is_some());
}
