//! Whether a command prints what a document shows below it.

/// What stands for anything: in a word for a part of it, alone for any number of words, and at the end
/// of a line for the rest of it.
const ANYTHING: char = '…';

/// Why what was printed is not what is shown: the first line shown that no further line fits.
pub fn difference(shown: &[String], printed: &str) -> Option<String> {
    let mut printed = printed.lines();
    let is_missing = |line: &&String| !printed.any(|printed| fits(line, printed));
    shown.iter().find(is_missing).cloned()
}

fn fits(shown: &str, printed: &str) -> bool {
    let shown: Vec<&str> = shown.split_whitespace().collect();
    let printed: Vec<&str> = printed.split_whitespace().collect();
    words_fit(&shown, &printed)
}

fn words_fit(shown: &[&str], printed: &[&str]) -> bool {
    match shown {
        [] => printed.is_empty(),
        [word, rest @ ..] if word.chars().eq([ANYTHING]) => {
            (0..=printed.len()).any(|skipped| words_fit(rest, &printed[skipped..]))
        }
        [last] if last.ends_with(ANYTHING) => {
            printed.first().is_some_and(|first| word_fits(last, first))
        }
        [word, rest @ ..] => match printed {
            [one, others @ ..] => word_fits(word, one) && words_fit(rest, others),
            [] => false,
        },
    }
}

/// Numbers and times are others each time: only their form counts.
fn word_fits(shown: &str, printed: &str) -> bool {
    let (shown, printed) = (form(shown), form(printed));
    match shown.split_once(ANYTHING) {
        Some((begin, end)) => {
            printed.len() >= begin.len() + end.len()
                && printed.starts_with(begin)
                && printed.ends_with(end)
        }
        None => shown == printed,
    }
}

/// A word with each run of digits as one.
fn form(word: &str) -> String {
    let mut form = String::new();
    for letter in word.chars() {
        match (letter.is_ascii_digit(), form.ends_with('0')) {
            (true, true) => {}
            (true, false) => form.push('0'),
            (false, _) => form.push(letter),
        }
    }
    form
}

#[test]
fn words_have_to_agree_and_numbers_only_in_their_form() {
    let printed = "NAME     READY   AGE\nportal   True    12s\nord-1a2b 2026-11-25T05:34:27Z x y\n";
    let differs = |shown: &[&str]| {
        let shown: Vec<String> = shown.iter().map(|line| (*line).to_owned()).collect();
        difference(&shown, printed).is_some()
    };
    for fine in [
        &["NAME READY AGE", "portal True 3s"][..],
        &["portal … 1s"],
        &["NAME …", "ord-… 2030-01-01T00:00:00Z … y"],
        &["ord-…b 2030-01-01T00:00:00Z x …"],
        &["… READY …"],
        &["port…"],
    ] {
        assert!(!differs(fine), "{fine:?}");
    }
    for wrong in [
        &["NAME READY"][..],
        &["portal False 3s"],
        &["portal True 3m"],
        &["portal True 3s", "NAME READY AGE"],
        &["ord-… 2030-01-01 … y"],
        &["portal … 1s x"],
        &["porter…"],
        &["… True portal…"],
    ] {
        assert!(differs(wrong), "{wrong:?}");
    }
}
