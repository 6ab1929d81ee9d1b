"""What goods tell of health, faith, origin, family and habits is named to nobody."""

import pytest

from recommender.protected import may_be_told

# Product categories of Complete Journey that a grocer would not say aloud, and their like.
PRIVATE = (
    *("ADULT INCONTINENCE", "ANALGESICS", "ANTACIDS", "BABY FOODS", "BABY HBC", "BABYFOOD"),
    *("BEERS/ALES", "CIGARETTES", "CIGARS", "COLD AND FLU", "DIAPERS & DISPOSABLES"),
    *("DIETARY AID PRODUCTS", "DOMESTIC WINE", "DRUG GM", "ETHNIC PERSONAL CARE", "EASTER"),
    *("EYE AND EAR CARE PRODUCTS", "FAMILY PLANNING", "FEMININE HYGIENE", "FIRST AID PRODUCTS"),
    *("FITNESS&DIET", "FOOT CARE PRODUCTS", "GLASSES/VISION AIDS", "HISPANIC", "HOME HEALTH CARE"),
    *("INFANT FORMULA", "LAXATIVES", "LIQUOR", "NATURAL VITAMINS", "NUTRITION", "PHARMACY"),
    *("RESTRICTED DIET", "SINUS AND ALLERGY", "SMOKING CESSATIONS", "SPIRITS", "TOBACCO OTHER"),
    *("VITAMINS", "age", "demographics.age", "gender", "income", "household_size", "kids_count"),
    *("marital_status", "share_baby_care_365d", "PREGNANCY TESTS", "Contraceptives", "Nappies"),
    *("Halal meat", "Kosher", "Ramadan specials", "Hanukkah", "Gluten free", "Painkillers"),
    *("Diabetic sweets", "Hearing aids", "Non-alcoholic beer", "Lottery", "sex toys"),
)
HARMLESS = (
    *("sausages", "kidney beans", "SMOKED MEATS", "BAKED BREAD/BUNS/ROLLS", "BEEF", "COFFEE"),
    *("SHAVING CARE PRODUCTS", "HAIR CARE PRODUCTS", "CHIPS&SNACKS", "DOG FOODS", "GREEN SALAD"),
    *("fertilizers", "gelatine", "paints", "ginger", "cat food", "whisks", "cottage cheese"),
    *("PASTA SAUCE", "INSECTICIDES", "DRIED FRUIT", "SOAP - LIQUID & BAR", "orders_30d", ""),
)


@pytest.mark.parametrize("name", PRIVATE)
def test_what_is_nobodys_business_is_kept_back(name: str) -> None:
    assert not may_be_told(name)
    assert not may_be_told(name.lower())
    assert not may_be_told(name.upper())


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_names_are_told(name: str) -> None:
    assert may_be_told(name)
