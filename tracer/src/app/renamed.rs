//! Names in the expression while the trace runs: a pod that is replaced, a container that is started again, a service that gets
//! another address. They are looked up again when the machine changes, on a thread of its own, which may look into the machine.
//! What they stood for before is followed on: packets to it may still be under way.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::Config;
use crate::error::Error;
use crate::filter::{Compiled, Directory, End, Named, Request, Unknown, compile_with};
use crate::host::facts::Fact;
use crate::inventory::Machine;
use crate::restrict::{Role, restrict};
use crate::source::Input;

/// Least time between two looks. A pod that is made changes the machine some ten times.
const BETWEEN: Duration = Duration::from_millis(500);

/// What is said when they were found to stand for more.
pub(super) const SAID: &str =
    "what the expression names has other addresses now: these are followed too";

/// Looks the names of an expression up again.
#[derive(Debug)]
pub(super) struct Renamed {
    look: SyncSender<()>,
    found: mpsc::Receiver<Compiled>,
}

impl Renamed {
    /// Starts the thread; `None` where the expression has no names that may come to stand for something else.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn start(config: &Config) -> Result<Option<Self>, Error> {
        let request = Request {
            expr: config.filter.expression.clone(),
            one_way: config.filter.one_way,
            ..Request::default()
        };
        if !has_names(&request) {
            return Ok(None);
        }
        let known = Known::of(Machine {
            names: config.names.clone(),
        });
        let mut followed = config.filter.words.clone();
        let (look, looks) = sync_channel(1);
        let (to, found) = mpsc::channel(1);
        let run = move || {
            restrict(Role::Machine);
            // What they stand for now is followed on when they come to stand for something else.
            let _ = known.compile(&request);
            while looks.recv().is_ok() {
                thread::sleep(BETWEEN);
                let Some(compiled) = known.compile(&request) else {
                    continue;
                };
                if compiled.words != followed {
                    followed.clone_from(&compiled.words);
                    if to.blocking_send(compiled).is_err() {
                        return;
                    }
                }
            }
        };
        thread::Builder::new()
            .name("tracer-renamed".to_owned())
            .spawn(run)
            .map_err(Error::no_thread)?;
        Ok(Some(Self { look, found }))
    }

    /// Takes notice of an input that may change what names stand for.
    pub(super) fn see(&self, input: &Input) {
        let Input::Host(_, fact) = input else { return };
        let changes = matches!(
            fact,
            Fact::Namespace(_) | Fact::Addresses(..) | Fact::Owners(_)
        );
        if changes {
            // A look that is due already sees this too; without the thread, what was found before is followed on.
            let _ = self.look.try_send(());
        }
    }
}

/// The expression as it is to be followed from now on; never, where nothing looks.
pub(super) async fn next(renamed: &mut Option<Renamed>) -> Compiled {
    if let Some(renamed) = renamed
        && let Some(compiled) = renamed.found.recv().await
    {
        return compiled;
    }
    std::future::pending().await
}

/// Whether an expression asks for something by a name. A number of a process, and a process by the name of its program, stand for
/// what they are when the trace begins.
fn has_names(request: &Request) -> bool {
    struct Asks(Cell<bool>);
    impl Directory for Asks {
        fn find(&self, named: Named, _: &str) -> Result<Vec<End>, Unknown> {
            let lasting = !matches!(named, Named::Process | Named::Pid);
            self.0.set(self.0.get() || lasting);
            Ok(vec![End {
                address: None,
                port: None,
            }])
        }
    }
    let asks = Asks(Cell::new(false));
    // What cannot be compiled is not traced.
    let _ = compile_with(request, &asks);
    asks.0.get()
}

/// Ends by their names, those of before too.
struct Known<D> {
    directory: D,
    ends: RefCell<BTreeMap<(Named, String), BTreeSet<End>>>,
}

impl<D: Directory> Known<D> {
    fn of(directory: D) -> Self {
        Self {
            directory,
            ends: RefCell::default(),
        }
    }

    /// The expression for all ends that its names had. Where these have become too many for a filter, for those of now.
    fn compile(&self, request: &Request) -> Option<Compiled> {
        let all = compile_with(request, self);
        all.or_else(|_| {
            self.ends.borrow_mut().clear();
            compile_with(request, self)
        })
        .ok()
    }
}

impl<D: Directory> Directory for Known<D> {
    fn find(&self, named: Named, name: &str) -> Result<Vec<End>, Unknown> {
        let now = self.directory.find(named, name);
        let mut ends = self.ends.borrow_mut();
        let ends = ends.entry((named, name.to_owned())).or_default();
        match now {
            Ok(found) => ends.extend(found),
            // Between two pods of one name there is none.
            Err(unknown) if ends.is_empty() => return Err(unknown),
            Err(_) => {}
        }
        Ok(ends.iter().copied().collect())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// A pod with one address, or gone.
    struct Pod(Cell<Option<u8>>);

    impl Directory for Pod {
        fn find(&self, _: Named, _: &str) -> Result<Vec<End>, Unknown> {
            let last = self.0.get().ok_or_else(|| Unknown {
                message: "no such pod".to_owned(),
                hint: String::new(),
            })?;
            Ok(vec![End::from(IpAddr::from([10, 0, 0, last]))])
        }
    }

    fn request(expr: &str) -> Request {
        Request {
            expr: expr.to_owned(),
            ..Request::default()
        }
    }

    #[test]
    fn a_pod_that_is_replaced_is_followed_beside_the_one_before() {
        let known = Known::of(Pod(Cell::new(Some(1))));
        let asked = request("pod shop/cart and tcp");
        let words = || known.compile(&asked).map(|compiled| compiled.words);
        let first = words().unwrap();
        known.directory.0.set(None);
        assert_eq!(words().unwrap(), first);
        known.directory.0.set(Some(2));
        let both = words().unwrap();
        assert!(first.iter().all(|word| both.contains(word)), "{both:?}");
        assert!(both.len() > first.len());
    }

    #[test]
    fn ends_that_are_too_many_for_a_filter_are_forgotten() {
        let known = Known::of(Pod(Cell::new(Some(1))));
        let asked = request("pod shop/cart");
        for last in 2..=255 {
            known.directory.0.set(Some(last));
            let words = known.compile(&asked).unwrap().words;
            let newest = format!("10.0.0.{last}");
            assert!(words.iter().any(|word| word.contains(&newest)), "{last}");
        }
    }

    #[test]
    fn names_that_last_are_looked_up_again() {
        assert!(has_names(&request("tcp and service shop/db")));
        assert!(!has_names(&request("process nginx or pid 1")));
        assert!(!has_names(&request("host 10.0.0.1")));
    }
}
