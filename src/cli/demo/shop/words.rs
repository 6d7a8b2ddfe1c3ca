//! Names and things of the shop, from several alphabets.

pub(super) const FIRST_NAMES: &[&str] = &[
    "Anna",
    "Björn",
    "Chloé",
    "Đorđe",
    "Elif",
    "François",
    "Guðrún",
    "Hiroshi",
    "Iñaki",
    "Jürgen",
    "Katarína",
    "Łukasz",
    "Мария",
    "Nikola",
    "Olga",
    "Søren",
    "Θεοδώρα",
    "Umut",
    "Zoë",
    "美咲",
];

pub(super) const LAST_NAMES: &[&str] = &[
    "Álvarez",
    "Bašić",
    "Çelik",
    "Dvořák",
    "Eriksson",
    "Fußhöller",
    "García",
    "Hansen",
    "Иванова",
    "Jørgensen",
    "Kowalski",
    "Müller",
    "Nuñez",
    "O'Brien",
    "Παπαδάκη",
    "Rossi",
    "Szabó",
    "Tóth",
    "Weiß",
    "佐藤",
];

pub(super) const CITIES: &[&str] = &[
    "Århus",
    "Genève",
    "İzmir",
    "Kraków",
    "Köln",
    "Lisboa",
    "Málaga",
    "München",
    "São Paulo",
    "Київ",
    "東京",
    "Zürich",
];

/// Products with their first price, in cents.
pub(super) const PRODUCTS: &[(&str, u64)] = &[
    ("Espresso cup, 80 ml", 650),
    ("Bread knife", 2_490),
    ("Linen apron", 3_200),
    ("Cast-iron pan, 28 cm", 5_900),
    ("Crème brûlée torch", 3_450),
    ("Salt, \"fleur de sel\"", 799),
    ("Jalapeño seeds", 349),
    ("Oak board", 2_750),
    ("Tea, Darjeeling, 100 g", 1_205),
    ("Smörgås plate", 1_480),
    ("Kitchen scale ±1 g", 1_999),
    ("Moka pot, 6 cups", 3_890),
];

pub(super) const METHODS: &[&str] = &["card", "bank transfer", "invoice", "cash on delivery"];

/// What customers add to an order; mostly nothing.
pub(super) const NOTES: &[Option<&str>] =
    &[None, None, Some("ring twice"), Some("gift – no invoice"), Some("leave with the neighbour")];
