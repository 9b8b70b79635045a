//! Names that a mistyped name may have meant.

/// At most three of `known` that are close to `name`, closest first.
#[must_use]
pub fn near<'a>(name: &str, known: &'a [String]) -> Vec<&'a str> {
    let mut close: Vec<(usize, &str)> = known
        .iter()
        .map(|other| (distance(name, other), other.as_str()))
        .filter(|(distance, other)| {
            let length = name.chars().count().min(other.chars().count());
            *distance <= length.div_ceil(3)
        })
        .collect();
    close.sort_unstable();
    close.dedup();
    close.into_iter().take(3).map(|(_, other)| other).collect()
}

/// Letters to insert, delete or exchange (Levenshtein), ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.windows(2)) {
            let &[diagonal, up] = above else { continue };
            left = (diagonal + usize::from(x != *y)).min(up + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{distance, near};

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ETH0", "eth0", 0),
            ("eth0", "eth1", 1),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn the_closest_comes_first_and_the_far_not_at_all() {
        let known = ["client2", "server", "client"].map(String::from);
        assert_eq!(near("client1", &known), ["client", "client2"]);
        assert_eq!(near("router", &known), Vec::<&str>::new());
    }
}
