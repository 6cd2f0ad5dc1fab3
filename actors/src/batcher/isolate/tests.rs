use super::*;
use bursar_engine::Result;

/// Doubles texts. Fails if the batch contains a refused one, and after `unavailable_after` batches.
struct Doubles {
    refused: Vec<&'static str>,
    batches: Mutex<Vec<Vec<&'static str>>>,
    unavailable_after: usize,
}

impl Doubles {
    fn refusing(refused: &[&'static str]) -> Self {
        Self { refused: refused.to_vec(), batches: Mutex::default(), unavailable_after: usize::MAX }
    }

    fn batches(&self) -> Vec<Vec<&'static str>> {
        std::mem::take(&mut *self.batches.lock().unwrap())
    }
}

impl Work for Doubles {
    type Item = &'static str;
    type Answer = String;
    const NAME: &'static str = "doubles";

    fn key<'a>(item: &'a &'static str) -> &'a str {
        item
    }

    async fn run(&self, items: &[&'static str], _: bool) -> Result<Vec<String>> {
        let mut batches = self.batches.lock().unwrap();
        batches.push(items.to_vec());
        if batches.len() > self.unavailable_after {
            return Err(Error::Unavailable("the database"));
        }
        if items.iter().any(|item| self.refused.contains(item)) {
            return Err(Error::Corrupt("a refused value".to_owned()));
        }
        Ok(items.iter().map(|item| item.repeat(2)).collect())
    }
}

const EIGHT: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Runs the items and returns the answers, with `at fault` or `unavailable` for errors.
async fn run(work: &Doubles, suspects: &Suspects, items: &[&'static str]) -> Vec<String> {
    let mut items = items.to_vec();
    let unsuspected = suspects.put_last(&mut items, |item| item);
    let answers = run_all(work, suspects, &items, unsuspected).await;
    let text = |answer: Answered<Doubles>| match answer {
        Ok(text) => text,
        Err(error) if error.is_item_fault() => "at fault".to_owned(),
        Err(_) => "unavailable".to_owned(),
    };
    answers.into_iter().map(text).collect()
}

#[tokio::test]
async fn a_batch_without_a_faulty_item_is_one_transaction() {
    let work = Doubles::refusing(&[]);
    assert_eq!(run(&work, &Suspects::default(), &["a", "b"]).await, ["aa", "bb"]);
    assert_eq!(work.batches().len(), 1);
}

#[tokio::test]
async fn only_the_faulty_items_of_a_batch_fail() {
    for faulty in [&["a"][..], &["d"], &["h"], &["c", "d"], &["a", "e", "h"]] {
        let work = Doubles::refusing(faulty);
        let answers = run(&work, &Suspects::default(), &EIGHT).await;
        for (item, answer) in EIGHT.iter().zip(answers) {
            let expected = if faulty.contains(item) { "at fault".to_owned() } else { item.repeat(2) };
            assert_eq!(answer, expected, "{item} of {faulty:?}");
        }
    }
}

#[tokio::test]
async fn a_faulty_item_runs_last_and_alone_until_it_succeeds() {
    let suspects = Suspects::default();
    let mut work = Doubles::refusing(&["c"]);
    run(&work, &suspects, &["a", "b", "c", "d"]).await;
    work.batches();
    assert_eq!(run(&work, &suspects, &["a", "c", "d"]).await, ["aa", "dd", "at fault"]);
    assert_eq!(work.batches(), [vec!["a", "d"], vec!["c"]]);

    work.refused.clear();
    assert_eq!(run(&work, &suspects, &["c", "d"]).await, ["dd", "cc"]);
    work.batches();
    run(&work, &suspects, &["c", "d"]).await;
    assert_eq!(work.batches(), [vec!["c", "d"]]);
}

#[tokio::test]
async fn a_single_item_is_retried_once_before_it_fails() {
    let work = Doubles::refusing(&["a"]);
    assert_eq!(run(&work, &Suspects::default(), &["a"]).await, ["at fault"]);
    assert_eq!(work.batches().len(), 2);
}

#[tokio::test]
async fn a_batch_is_not_split_while_the_database_is_unavailable() {
    let work = Doubles { unavailable_after: 1, ..Doubles::refusing(&["c"]) };
    assert_eq!(run(&work, &Suspects::default(), &["a", "b", "c", "d"]).await, ["unavailable"; 4]);
    assert_eq!(work.batches().len(), 2);
}
