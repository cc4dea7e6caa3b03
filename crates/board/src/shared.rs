//! One value of each type that belongs to the whole server: a protocol's settings, and what it keeps beyond a connection.

use crate::Board;
use crate::part::lock;
use std::any::{Any, TypeId};
use std::sync::{Arc, Mutex};

/// Values by their type.
#[derive(Default)]
pub(crate) struct Shared(Mutex<foldhash::HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Board {
    /// Sets the value of this type. Who has the one before keeps it: settings are replaced as a whole, at start or at a reload.
    pub fn share<T: Send + Sync + 'static>(&self, value: T) {
        lock(&self.shared.0).insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// The value of this type, which is its default until one is set.
    pub fn shared<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut values = lock(&self.shared.0);
        let value = values.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        // It is there under its own type.
        value.clone().downcast().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #[derive(Default, PartialEq, Debug)]
    struct Limit(u32);

    #[tokio::test]
    async fn one_value_of_each_type() {
        let (board, _) = crate::Board::start(crate::Settings {
            dir: None,
            authority: crate::auth::Authority::new([], Vec::new(), Default::default()),
            http: crate::HttpSettings::default(),
            memory: 64 << 20,
            max_message: 1 << 20,
            max_request: 8 << 20,
            max_wait_ms: 1_000,
            mode: "development".into(),
        })
        .unwrap();
        let before = board.shared::<Limit>();
        assert_eq!(*before, Limit(0));
        assert!(std::sync::Arc::ptr_eq(&before, &board.shared::<Limit>()));
        board.share(Limit(7));
        assert_eq!(before.0 + board.shared::<Limit>().0, 7);
        board.stop().await;
    }
}
