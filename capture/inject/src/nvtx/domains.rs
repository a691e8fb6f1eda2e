//! What NVTX knows by handle: domains, registered strings, categories.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use gapless_ring::names::{self, Registered};
use gapless_ring::writer::Thread;

use crate::table::{Table, join};

/// A domain; its handle is its address. The default domain has none.
pub(super) struct Domain {
    pub name: Registered,
    /// Hash of the name; 0 stands for the default domain.
    pub hash: u64,
}

static DOMAINS: Table<Domain, 4096> = Table::new();
static NAMES: Table<Registered, 131_072> = Table::new();
static CATEGORIES: Table<Category, 8192> = Table::new();

/// What is handed out once there are more names than the table holds.
static TOO_MANY_NAMES: Registered = Registered::fixed("(more registered strings than Gapless keeps)");

/// The domain with this name. `None` where there are more than thousands.
pub(super) fn domain(name: &[u8]) -> Option<&'static Domain> {
    let hash = names::hash(name);
    DOMAINS.get_or_insert(hash, || Domain { name: Registered::new(name), hash })
}

/// The domain of a handle.
///
/// # Safety
/// `handle` is null or was made by [`domain`].
#[inline(always)]
pub(super) unsafe fn of_handle(handle: *const Domain) -> Option<&'static Domain> {
    // SAFETY: by this function's own contract; domains are never freed.
    unsafe { handle.as_ref() }
}

/// The number of a domain's name; 0 for the default domain.
#[inline(always)]
pub(super) fn number(thread: &mut Thread, domain: Option<&'static Domain>) -> u32 {
    match domain {
        Some(domain) => thread.registered(&domain.name),
        None => 0,
    }
}

/// The registered string of this text.
pub(super) fn registered(text: &[u8]) -> &'static Registered {
    NAMES.get_or_insert(names::hash(text), || Registered::new(text)).unwrap_or(&TOO_MANY_NAMES)
}

/// A category of a domain, named or not.
struct Category {
    name: AtomicPtr<Registered>,
}

fn category_of(domain: Option<&'static Domain>, id: u32) -> Option<&'static Category> {
    let key = join(domain.map_or(0, |domain| domain.hash), u64::from(id));
    CATEGORIES.get_or_insert(key, || Category { name: AtomicPtr::new(null_mut()) })
}

/// Gives a category its name.
pub(super) fn name_category(domain: Option<&'static Domain>, id: u32, name: &[u8]) {
    if let Some(category) = category_of(domain, id) {
        category.name.store(std::ptr::from_ref(registered(name)).cast_mut(), Ordering::Release);
    }
}

/// The number of a category's name; the name of one that has none is its decimal number. 0 for category 0.
#[inline]
pub(super) fn category_number(thread: &mut Thread, domain: Option<&'static Domain>, id: u32) -> u32 {
    if id == 0 {
        return 0;
    }
    let Some(category) = category_of(domain, id) else { return 0 };
    let mut name = category.name.load(Ordering::Acquire);
    if name.is_null() {
        name = std::ptr::from_ref(registered(id.to_string().as_bytes())).cast_mut();
        if let Err(named) = category.name.compare_exchange(null_mut(), name, Ordering::AcqRel, Ordering::Acquire) {
            name = named;
        }
    }
    // SAFETY: registered strings are never freed.
    thread.registered(unsafe { &*name })
}
