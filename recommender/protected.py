"""What no one is told of herself: may a feature or a product group be named to a customer?

Goods tell of health, faith, origin, family and habits; so do her demographics. A name that touches
any of these is neither said as a reason, nor does it speak for anything that is shown, nor are such
goods suggested because of others. It is better to keep back a harmless name than to say one that
is not: "root beer" is kept back with beer.

Names are judged by their English words.
"""

from functools import lru_cache

# Words that begin so: "baby" is in BABYFOOD, "cigar" in CIGARETTES.
STEMS = (
    # Family and age.
    *("baby", "babie", "infant", "toddler", "newborn", "child", "juvenile", "pregnan", "matern"),
    *("diaper", "nappy", "nappies", "breastfeed", "marital", "homeowner", "household"),
    *("adult", "teenage", "senior", "gender", "demographic", "occupation", "income"),
    # Love.
    *("contracep", "condom", "sexual", "erotic", "lubricant", "fertility", "infertil", "ovulat"),
    *("menstru", "menopaus", "tampon", "feminin", "lgbt"),
    # Health.
    *("health", "medic", "pharma", "drug", "vitamin", "supplement", "nutrition", "diet"),
    *("prescri", "remed", "therap", "clinic", "hospital", "surg", "disab", "wheelchair"),
    *("handicap", "laxativ", "antacid", "analges", "allerg", "asthma", "inhaler", "sinus"),
    *("decongest", "cough", "painkill", "migrain", "headache", "arthrit", "diabet", "insulin"),
    *("glucose", "cholest", "blood", "digestiv", "diarrh", "antidiarr", "probiotic", "hemorrh"),
    *("haemorrh", "incontinen", "denture", "hearing", "vision", "hygien", "sanitary", "gluten"),
    *("lactose", "celiac", "coeliac", "slimming", "depress", "insomn", "antisept", "bandage"),
    *("aspirin", "ibuprofen", "paracetamol", "acetamin", "antihist", "antifung", "eczema", "acne"),
    # Habits.
    *("alcohol", "nonalcohol", "liquor", "beer", "lager", "wine", "vodka", "whisky", "brandy"),
    *("whiskey", "tequila", "champagne", "cocktail", "bourbon", "tobac", "cigar"),
    *("nicotin", "vape", "vaping", "ecig", "cannab", "marijuana", "gambl", "lotter", "lotto"),
    *("betting", "firearm", "ammunit"),
    # Faith, origin, conviction.
    *("religi", "kosher", "halal", "passover", "ramadan", "hanuk", "chanuk", "matzo", "easter"),
    *("christ", "church", "bible", "quran", "jewish", "muslim", "islam", "hindu", "catholic"),
    *("ethnic", "multicult", "hispan", "latin", "asian", "orient", "african", "mexican", "chines"),
    *("nationalit", "immigra", "politic", "charit"),
)  # fmt: skip
# Words that must be so: "age" is not in "sausages", nor "kid" in "kidney beans".
WORDS = frozenset(
    {
        *("age", "ages", "aged", "elder", "elderly", "sex", "race", "kid", "kids"),
        *("education", "toy", "toys", "school", "formula", "nursing", "gay", "lesbian"),
        *("wedding", "funeral"),
        *("otc", "hbc", "flu", "pain", "lice", "weight", "ill", "illness", "sick"),
        *("spirit", "spirits", "ale", "ales", "stout", "gin", "rum", "sake"),
        *("smoker", "smokers", "smoking", "smokeless", "gun", "guns"),
    }
)  # fmt: skip
# Harmless words that say it together.
PHRASES = (
    *("family planning", "first aid", "foot care", "eye and ear", "eye care", "ear care"),
    *("sleep aid", "sugar free", "birth control", "morning after", "cold and flu"),
)  # fmt: skip


@lru_cache(maxsize=65_536)
def may_be_told(name: str) -> bool:
    """Whether a feature's or a product group's name touches nothing protected."""
    words = "".join(c.lower() if c.isalpha() else " " for c in name).split()
    if any(word in WORDS or word.startswith(STEMS) for word in words):
        return False
    said = f" {' '.join(words)} "
    return not any(f" {phrase} " in said for phrase in PHRASES)
