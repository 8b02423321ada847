//! The entries of the registry: in the order of their names, and at once by their place.

use std::collections::BTreeMap;

use events::Name;

use super::Entry;

/// Where the entry of a device is. It stays there while the service runs, so what is kept for each frame's device is found by it
/// without reading the device's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place(usize);

/// All entries that there ever were.
#[derive(Debug, Default)]
pub(super) struct Entries {
    places: BTreeMap<Name, Place>,
    entries: Vec<Entry>,
}

impl Entries {
    /// The place of an entry; a new one where there is none of the name.
    pub fn place(&mut self, name: &Name) -> Place {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = Place(self.entries.len());
        self.entries.push(Entry::default());
        self.places.insert(name.clone(), place);
        place
    }

    /// The entry at a place.
    pub fn at(&mut self, place: Place) -> Option<&mut Entry> {
        self.entries.get_mut(place.0)
    }

    pub fn get(&self, name: &Name) -> Option<&Entry> {
        self.entries.get(self.places.get(name)?.0)
    }

    pub fn get_mut(&mut self, name: &Name) -> Option<&mut Entry> {
        self.entries.get_mut(self.places.get(name)?.0)
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Entry)> {
        let entry = |(name, place): (_, &Place)| Some((name, self.entries.get(place.0)?));
        self.places.iter().filter_map(entry)
    }

    /// By name; what `of` makes of each.
    pub fn filter_map<T>(&mut self, mut of: impl FnMut(&Name, &mut Entry) -> Option<T>) -> Vec<T> {
        let entries = &mut self.entries;
        let each = |(name, place): (_, &Place)| of(name, entries.get_mut(place.0)?);
        self.places.iter().filter_map(each).collect()
    }
}
