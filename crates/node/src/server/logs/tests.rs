//! Logs as files with known lines, read in every way the API offers.

use std::io::Write as _;

use futures::StreamExt as _;
use proptest::prelude::*;

use super::*;

const LOG: &str = "2026-01-02T03:04:05.000000001Z stdout F one\n\
                   2026-01-02T03:04:06.000000001Z stderr F two\n\
                   2026-01-02T03:04:07.000000001Z stdout P thr\n\
                   2026-01-02T03:04:07.000000002Z stdout F ee\n";

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

async fn read(text: &str, query: &str) -> String {
    let file = file(text);
    let options = Options::parse(query, "2026-01-02T03:04:10Z".parse().unwrap()).unwrap();
    let body = stream(file.path().to_owned(), options, std::future::ready(())).await.unwrap();
    String::from_utf8(http_body_util::BodyExt::collect(body).await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn lines_come_whole_and_in_order() {
    assert_eq!(read(LOG, "").await, "one\ntwo\nthree\n");
}

#[tokio::test]
async fn the_tail_counts_lines_from_the_end() {
    assert_eq!(read(LOG, "tailLines=3").await, "two\nthree\n");
    assert_eq!(read(LOG, "tailLines=0").await, "");
    assert_eq!(read(LOG, "tailLines=99").await, "one\ntwo\nthree\n");
}

#[tokio::test]
async fn since_leaves_out_what_is_older() {
    assert_eq!(read(LOG, "sinceTime=2026-01-02T03:04:06Z").await, "two\nthree\n");
    assert_eq!(read(LOG, "sinceSeconds=4").await, "two\nthree\n");
}

#[tokio::test]
async fn timestamps_stand_before_each_whole_line() {
    let text = read(LOG, "timestamps=true&tailLines=2").await;
    assert_eq!(text, "2026-01-02T03:04:07.000000001Z three\n");
}

#[tokio::test]
async fn the_byte_limit_cuts_even_inside_a_line() {
    assert_eq!(read(LOG, "limitBytes=5").await, "one\nt");
}

#[tokio::test]
async fn one_stream_can_be_chosen() {
    assert_eq!(read(LOG, "stream=Stderr").await, "two\n");
}

#[tokio::test]
async fn following_shows_new_lines_at_once_and_ends_with_the_container() {
    let mut file = file("2026-01-02T03:04:05Z stdout F one\n");
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let options = Options { follow: true, ..Options::default() };
    let mut body = stream(file.path().to_owned(), options, async move { drop(ended.await) }).await.unwrap();
    let mut next = async || {
        let frame = body.next().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    };
    assert_eq!(next().await.as_deref(), Some("one\n"));
    file.write_all(b"2026-01-02T03:04:06Z stdout F two\n").unwrap();
    assert_eq!(next().await.as_deref(), Some("two\n"));
    file.write_all(b"2026-01-02T03:04:07Z stdout F last\n").unwrap();
    end.send(()).unwrap();
    assert_eq!(next().await.as_deref(), Some("last\n"));
    assert_eq!(next().await, None);
}

#[test]
fn last_words_are_the_end_of_the_log_without_its_decoration() {
    let file = file(LOG);
    assert_eq!(last_words(file.path()), "one\ntwo\nthree\n");
    let many: String = (0..200).map(|n| format!("2026-01-02T03:04:05Z stdout F {n}\n")).collect();
    let words = last_words(self::file(&many).path());
    assert!(words.starts_with("120\n") && words.ends_with("199\n"), "{words:?}");
}

proptest! {
    #[test]
    fn any_tail_is_a_suffix_of_the_whole(lines in proptest::collection::vec("[a-z]{0,9}", 0..40), tail in 0..50_usize) {
        let text: String = lines.iter().map(|line| format!("2026-01-02T03:04:05Z stdout F {line}\n")).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let got = runtime.block_on(read(&text, &format!("tailLines={tail}")));
        let want: String = lines[lines.len().saturating_sub(tail)..].iter().map(|line| format!("{line}\n")).collect();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(line in proptest::collection::vec(any::<u8>(), 0..60)) {
        parse(&line);
    }
}
