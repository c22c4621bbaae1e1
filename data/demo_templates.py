"""Sentence templates of the demo corpus; the docstring of each template is one of the sentences it can make."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from demo_lexicon import (
    ALLER,
    AND,
    AVOIR,
    BEAUTIFUL,
    BECAUSE,
    BIG,
    BUT,
    CITIES,
    CLOCK,
    COLORS,
    COUPLES,
    DATES,
    DAYS,
    ETRE,
    EVERY_DAY,
    EXPENSIVE,
    FRIENDS,
    FUTURE_TIMES,
    HE,
    HOURS,
    IT,
    MEN,
    MINUTES,
    MONDAYS,
    MONTHS,
    NAMES,
    NEW,
    NOTHING,
    NUMBERS,
    OLD,
    ONE_PERSON,
    PAST_TIMES,
    PEOPLE,
    PLEASE,
    PRETTY,
    PRONOUNS,
    SHE,
    SMALL,
    SMALL_ADJ,
    TEAMS,
    THAN,
    THIRD,
    TOO,
    VERY,
    WE,
    WHEN,
    WOMEN,
    YOU,
    YOUNG,
    Adj,
    I,
    Noun,
    P,
    Subject,
    Verb,
    adj,
    adjs,
    agree,
    ask,
    hour,
    is_,
    line,
    more,
    noun,
    nouns,
    np,
    order,
    pairs,
    person,
    say,
    verb,
)

T = TypeVar("T")


class Draw:
    """Draws words at random and remembers them, so that a sentence can be told by its combination of choices."""

    def __init__(self, rng: random.Random) -> None:
        """Start without any choice."""
        self._rng = rng
        self.choices: list[str] = []

    def pick(self, options: Sequence[T]) -> T:
        """Draw one option."""
        # Only random() is promised to give the same numbers in every Python version.
        chosen = options[int(self._rng.random() * len(options))]
        self.choices.append(getattr(chosen, "en", None) or str(chosen))
        return chosen

    def two(self, options: Sequence[T]) -> tuple[T, T]:
        """Draw two different options."""
        first = self.pick(options)
        second = self.pick([o for o in options if o != first])
        return first, second

    def chance(self) -> bool:
        """Toss a coin."""
        return self.pick((True, False))


def others(people: Sequence[Subject], s: Subject) -> list[Subject]:
    """The people who are not named by a subject already."""
    named = set(s.en.split())
    return [x for x in people if x.en.split()[-1] not in named]


Template = Callable[[Draw], P]
TEMPLATES: dict[str, list[Template]] = {}


def template(label: str) -> Callable[[Template], Template]:
    """Register a template under a label."""

    def register(function: Template) -> Template:
        TEMPLATES.setdefault(label, []).append(function)
        return function

    return register


# --- weather ---------------------------------------------------------------------------------------------------------


class Sky:
    """A weather condition: a verb (rain), *be* + adjective (cold, ``il fait``) or a thing (windy, ``il y a``)."""

    def __init__(self, spec: str) -> None:
        """Read ``english = kind french``, the kind being ``verbe``, ``fait`` or ``ya``."""
        self.en, fr = (part.strip() for part in spec.split("="))
        kind, _, self._complement = fr.partition(" ")
        self._is_verb, self._is_thing = kind == "verbe", kind == "ya"
        if self._is_verb:
            self._forms, self._complement = self._complement.split(), ""
        else:
            self._forms = ["a", "avait", "avoir"] if self._is_thing else ["fait", "faisait", "faire"]

    def __repr__(self) -> str:
        """The English name, so that choices among lists of conditions read the same in every run."""
        return self.en

    def clause(self, tense: str, *, negative: bool = False) -> P:
        """It rains (``usual``), it is (``now``), was (``before``) or is going to be (``soon``) raining."""
        present, past, infinitive = self._forms
        predicate = self.en + "ing" if self._is_verb else self.en
        future = f"going to {self.en}" if self._is_verb else f"going to be {self.en}"
        be = {"now": "it isn't", "before": "it wasn't", "soon": "it isn't", "usual": "it isn't"}
        if not negative:
            be = {"now": "it's", "before": "it was", "soon": "it's", "usual": "it's"}
        en = f"{be[tense]} {future if tense == 'soon' else predicate}"
        if tense == "usual" and self._is_verb:
            en = f"it doesn't {self.en}" if negative else f"it {self.en}s"
        ne, pas = ("ne", "pas") if negative else ("", "")
        y = "y" if self._is_thing else ""
        complement = self._complement
        if negative and self._is_thing:
            complement = "de " + complement.partition(" ")[2]
        if tense == "soon":
            return P(en, f"il {ne} va {pas} {y} {infinitive} {complement}")
        return P(en, f"il {ne} {y} {past if tense == 'before' else present} {pas} {complement}")

    def question(self, tense: str) -> P:
        """Is it raining, was it raining, or is it going to rain, without the question mark."""
        statement = self.clause(tense)
        be, rest = ("was", statement.en[7:]) if tense == "before" else ("is", statement.en[5:])
        return P(f"{be} it {rest}", f"est-ce que {statement.fr}")


SKIES = [
    Sky(s)
    for s in (
        "rain = verbe pleut pleuvait pleuvoir",
        "snow = verbe neige neigeait neiger",
        "cold = fait froid",
        "hot = fait chaud",
        "mild = fait doux",
        "humid = fait humide",
        "cool = fait frais",
        "sunny = ya du soleil",
        "windy = ya du vent",
        "foggy = ya du brouillard",
    )
]
RAIN, SNOW, COLD, HOT, MILD, HUMID, COOL, SUNNY, WINDY, FOGGY = SKIES
NICE_SKIES, BAD_SKIES = [MILD, SUNNY, HOT], [RAIN, SNOW, COLD, WINDY, FOGGY]
AREAS = pairs(
    "in the mountains = à la montagne; at the seaside = au bord de la mer; in the north = dans le nord;"
    "in the south = dans le sud; here = ici; in the countryside = à la campagne"
)
CITY_PLACES = [P(f"in {c.en}", f"à {c.fr}") for c in CITIES]
PLACES = CITY_PLACES + AREAS
NOW = pairs("today = aujourd'hui; this morning = ce matin; this afternoon = cet après-midi; this evening = ce soir")
BEFORE = pairs(
    "yesterday = hier; last night = hier soir; yesterday morning = hier matin; last week = la semaine dernière;"
    "last weekend = le week-end dernier; on Monday = lundi; on Thursday = jeudi"
)
SOON = pairs(
    "tomorrow = demain; tonight = ce soir; tomorrow morning = demain matin; this weekend = ce week-end;"
    "next week = la semaine prochaine; on Sunday = dimanche; on Tuesday = mardi; on Wednesday = mercredi"
)
SEASONS = pairs("in winter = en hiver; in summer = en été; in spring = au printemps; in autumn = en automne")
SEASON_NOUNS = nouns("winter = hiver m; summer = été m; spring = printemps m; autumn = automne m")
UMBRELLA = noun("umbrella = parapluie m")
COAT, SCARF, HAT, GLOVES = nouns("coat = manteau m; scarf/scarves = écharpe f; hat = chapeau m; +glove = gant m")
SUNGLASSES = noun("pair of sunglasses/sunglasses = paire de lunettes de soleil/lunettes de soleil f").many
TAKE, FORGET = verb("take/took/taken = prendre"), verb("forget/forgot/forgotten = oublier")


@template("weather")
def weather_now(d: Draw) -> P:
    """It's raining in Paris this morning."""
    return line(d.pick(SKIES).clause("now"), d.pick(PLACES), d.pick(NOW), ".")


@template("weather")
def weather_past(d: Draw) -> P:
    """It wasn't cold in Rome yesterday."""
    return line(d.pick(SKIES).clause("before", negative=d.chance()), d.pick(PLACES), d.pick(BEFORE), ".")


@template("weather")
def weather_future(d: Draw) -> P:
    """It's going to snow in the mountains next week."""
    return line(d.pick(SKIES).clause("soon", negative=d.chance()), d.pick(PLACES), d.pick(SOON), ".")


@template("weather")
def weather_question(d: Draw) -> P:
    """Is it going to rain in Lyon tomorrow?"""
    tense, times = d.pick([("now", NOW), ("before", BEFORE), ("soon", SOON)])
    return line(d.pick(SKIES).question(tense), d.pick(PLACES), d.pick(times), "?")


@template("weather")
def weather_like(d: Draw) -> P:
    """What's the weather like in London today?"""
    if d.chance():
        return line(P("what's the weather like", "quel temps fait-il"), d.pick(PLACES), d.pick(NOW), "?")
    return line(P("what was the weather like", "quel temps faisait-il"), d.pick(PLACES), d.pick(BEFORE), "?")


@template("weather")
def degrees(d: Draw) -> P:
    """It's 12 degrees in Lille this morning, but it's windy."""
    n, skies = d.pick(
        [(n, [RAIN, WINDY, FOGGY] if n < 20 else [RAIN, WINDY]) for n in (5, 8, 10, 12, 15, 18, 20, 25, 30)]
    )
    clause = P(f"it's {n} degrees", f"il fait {n} degrés") + d.pick(PLACES) + d.pick(NOW)
    return line(clause, BUT + d.pick(skies).clause("now") if d.chance() else NOTHING, ".")


@template("weather")
def colder_than(d: Draw) -> P:
    """It's colder in Lille than in Athens this week."""
    how = d.pick(
        pairs(
            "it's colder = il fait plus froid; it's hotter = il fait plus chaud; it's milder = il fait plus doux;"
            "it's windier = il y a plus de vent; it's more humid = il fait plus humide"
        )
    )
    a, b = d.two(CITY_PLACES)
    return line(
        how, a, THAN, b, d.pick(pairs("today = aujourd'hui; this week = cette semaine; in winter = en hiver")), "."
    )


@template("weather")
def season_compared(d: Draw) -> P:
    """In Montreal, winter is longer than in Rome."""
    season = person(d.pick(SEASON_NOUNS), "generic")
    a, b = d.two(CITY_PLACES)
    quality = d.pick(adjs("long/longer = long/longue; cold/colder = froid; hot/hotter = chaud; short/shorter = court"))
    return line(a, ",", is_(season, more(quality, season.gender, False)), THAN, b, ".")


@template("weather")
def take_umbrella(d: Draw) -> P:
    """Take your umbrella because it's going to rain tomorrow."""
    thing, skies = d.pick(
        [
            (UMBRELLA, [RAIN]),
            (COAT, [SNOW, COLD, WINDY]),
            (SCARF, [COLD, WINDY, SNOW]),
            (HAT, [HOT, SUNNY, COLD]),
            (GLOVES, [COLD, SNOW]),
            (SUNGLASSES, [SUNNY]),
        ]
    )
    sky = d.pick(skies)
    command = order(TAKE, np(thing, YOU)) if d.chance() else order(FORGET, np(thing, YOU), neg=True)
    if d.chance():
        return line(command, BECAUSE, sky.clause("soon"), d.pick(SOON[:4]), ".")
    return line(command, BECAUSE, sky.clause("now"), d.pick(PLACES), ".")


AT_HOME = [
    (verb("read/read = lire"), P("a book", "un livre")),
    (verb("read/read = lire"), P("the newspaper", "le journal")),
    (verb("listen = écouter"), P("to the radio", "la radio")),
    (verb("watch = regarder"), P("a movie", "un film")),
    (verb("sleep/slept = dormir"), P("all afternoon", "tout l'après-midi")),
]
STAY = verb("stay = rester")
HOME = P("at home", "à la maison")


@template("weather")
def when_it_rains(d: Draw) -> P:
    """When it rains, Paul stays at home and reads a book."""
    sky, s, (activity, thing) = d.pick(BAD_SKIES), d.pick(PEOPLE), d.pick(AT_HOME)
    return line(
        WHEN,
        sky.clause("usual"),
        ",",
        say(s, STAY, "present", HOME),
        AND,
        say(s, activity, "present", thing, subject=False),
        ".",
    )


OUTDOORS = [
    (verb("eat/ate = manger"), P("in the garden", "dans le jardin")),
    (verb("walk = se promener"), P("in the park", "dans le parc")),
    (verb("walk = se promener"), P("along the river", "le long de la rivière")),
    (verb("go/went = aller"), P("to the beach", "à la plage")),
    (verb("work = travailler"), P("in the garden", "dans le jardin")),
]


@template("weather")
def if_it_does_not_rain(d: Draw) -> P:
    """If it doesn't rain tomorrow, we're going to eat in the garden."""
    s, (activity, where), sky = d.pick(PEOPLE), d.pick(OUTDOORS), d.pick([RAIN, COLD, WINDY, SUNNY, MILD, HOT])
    condition = P("if", "si") + sky.clause("usual", negative=sky in BAD_SKIES)
    return line(condition, d.pick(SOON), ",", say(s, activity, "future", where), ".")


@template("weather")
def sunny_but(d: Draw) -> P:
    """It was sunny in Rome this morning, but it was raining in Athens."""
    good, bad = d.pick(NICE_SKIES), d.pick([RAIN, SNOW, COLD, WINDY, FOGGY])
    a, b = d.two(PLACES)
    form = d.pick(("now", "before", "soon"))
    time = d.pick({"now": NOW, "before": BEFORE, "soon": SOON}[form])
    return line(good.clause(form), a, time, BUT, bad.clause(form), b, ".")


@template("weather")
def forecast(d: Draw) -> P:
    """According to the radio, it's going to be foggy in the north tomorrow morning."""
    source = d.pick(pairs("the radio = la radio; the newspaper = le journal; the weather report = la météo"))
    return line(
        P("according to", "d'après"), source, ",", d.pick(SKIES).clause("soon"), d.pick(PLACES), d.pick(SOON), "."
    )


@template("weather")
def storm(d: Draw) -> P:
    """There was a big storm in Bordeaux last night."""
    thing = d.pick(
        pairs(
            "a big storm = un gros orage; a strong wind = un vent fort; thick fog = un brouillard épais;"
            "a lot of snow = beaucoup de neige; a lot of rain = beaucoup de pluie; a few clouds = quelques nuages"
        )
    )
    were, are = ("were", "are") if thing.en.endswith("clouds") else ("was", "is")
    if d.chance():
        return line(P(f"there {were}", "il y a eu"), thing, d.pick(PLACES), d.pick(BEFORE), ".")
    return line(P(f"there {are} going to be", "il va y avoir"), thing, d.pick(PLACES), d.pick(SOON), ".")


@template("weather")
def favorite_season(d: Draw) -> P:
    """Julie likes winter because it often snows in the mountains."""
    winter, summer, spring, autumn = SEASON_NOUNS
    season, why, places = d.pick(
        [
            (winter, P("it often snows", "il neige souvent"), [AREAS[0], AREAS[2]]),
            (summer, P("it's hot", "il fait chaud"), PLACES),
            (summer, P("it rarely rains", "il pleut rarement"), PLACES),
            (spring, P("it's mild", "il fait doux"), PLACES),
            (spring, P("it's often sunny", "il y a souvent du soleil"), PLACES),
            (autumn, P("it isn't too hot", "il ne fait pas trop chaud"), PLACES),
        ]
    )
    s, v = d.pick(PEOPLE), d.pick([verb("like = aimer"), verb("prefer/preferred = préférer")])
    return line(say(s, v, "present", np(season, "generic")), BECAUSE, why, d.pick(places), ".")


# --- food ------------------------------------------------------------------------------------------------------------

MASS = nouns(
    "bread = pain m; cheese = fromage m; rice = riz m; fish = poisson m; meat = viande f; chicken = poulet m;"
    "salad = salade f; soup = soupe f; ham = jambon m; jam = confiture f; butter = beurre m; honey = miel m"
)
MEAL_FOODS = MASS[1:9]
DRINKS = nouns(
    "coffee = café m; tea = thé m; milk = lait m; water = eau f; orange juice = jus d'orange m;"
    "hot chocolate = chocolat chaud m"
)
VEGETABLES = nouns(
    "+potato/potatoes = pomme de terre/pommes de terre f; +carrot = carotte f; +mushroom = champignon m;"
    "+green bean = haricot vert/haricots verts m; +tomato/tomatoes = tomate f"
)
FRUIT = nouns("apple = pomme f; orange = orange f; pear = poire f; strawberry = fraise f; egg = œuf m")
DISHES = nouns(
    "omelette = omelette f; pizza = pizza f; salad = salade f; sandwich = sandwich m;"
    "cheese sandwich = sandwich au fromage m;"
    "chocolate cake = gâteau au chocolat/gâteaux au chocolat m; apple pie = tarte aux pommes/tartes aux pommes f;"
    "vanilla ice cream = glace à la vanille/glaces à la vanille f;"
    "vegetable soup = soupe de légumes/soupes de légumes f"
)
GOOD_TASTE, DELICIOUS, SALTY, COLD_FOOD, HOT_FOOD, SPICY, DRY = adjs(
    "good = bon; delicious = délicieux; salty = salé; cold = froid; hot = chaud; spicy = épicé; dry = sec/sèche"
)
SOUP, OMELETTE, FISH, CHICKEN, MEAT, RICE, SALAD, CAKE = nouns(
    "soup = soupe f; omelette = omelette f; fish = poisson m; chicken = poulet m; meat = viande f; rice = riz m;"
    "salad = salade f; cake = gâteau m"
)
COOKED = [SOUP, OMELETTE, FISH, CHICKEN, MEAT, RICE, *VEGETABLES[:4]]
FAULTS = [
    *[(dish, (SALTY, COLD_FOOD, SPICY)) for dish in COOKED],
    *[(dish, (DRY,)) for dish in (FISH, CHICKEN, MEAT, RICE, CAKE)],
    (SOUP, (HOT_FOOD,)),
    (SALAD, (SALTY, SPICY)),
]
MEALS = pairs("for breakfast = au petit déjeuner; for lunch = au déjeuner; for dinner = au dîner")
EAT, DRINK = verb("eat/ate/eaten = manger"), verb("drink/drank/drunk = boire")
PORTIONS = pairs(
    "a glass of milk = un verre de lait; a cup of tea = une tasse de thé; a cup of coffee = une tasse de café;"
    "a glass of water = un verre d'eau; a bottle of water = une bouteille d'eau;"
    "a slice of ham = une tranche de jambon;"
    "a piece of bread = un morceau de pain; a piece of cheese = un morceau de fromage;"
    "a bowl of soup = un bol de soupe"
)
BAKE, TASTE, LIKE = verb("make/made = faire"), verb("taste = goûter"), verb("like = aimer")


@template("food")
def eat_at_meal(d: Draw) -> P:
    """I eat bread with jam for breakfast."""
    s = d.pick(PEOPLE)
    tense = d.pick(("present", "past"))
    if d.chance():
        spread = d.pick([MASS[1], *MASS[8:]])
        what = np(MASS[0], "bare") + P("with", "avec") + np(spread, "bare") + MEALS[0]
    else:
        a, b = d.two(MEAL_FOODS + VEGETABLES)
        what = np(a, "bare") + AND + np(b, "bare") + d.pick(MEALS[1:])
    return say(s, EAT, tense, what) + "."


@template("food")
def drank(d: Draw) -> P:
    """Emma drank coffee this morning, but Paul drank orange juice."""
    s, (a, b) = d.pick(PEOPLE), d.two(DRINKS)
    t = d.pick(others(NAMES, s))
    time = d.pick(PAST_TIMES[:3])
    return line(say(s, DRINK, "past", np(a, "bare")), time, BUT, say(t, DRINK, "past", np(b, "bare")), ".")


@template("food")
def not_eat(d: Draw) -> P:
    """She doesn't eat meat anymore."""
    s, neg = d.pick(PEOPLE), d.pick(("not", "never", "anymore"))
    v, foods = d.pick([(EAT, MASS), (EAT, VEGETABLES), (DRINK, DRINKS)])
    return line(
        say(s, v, "present", np(d.pick(foods), "bare-any"), neg=neg),
        d.pick(MEALS) if neg != "anymore" else NOTHING,
        ".",
    )


@template("food")
def would_like(d: Draw) -> P:
    """I'd like an omelette and a glass of water, please."""
    s = d.pick([P("I'd like", "je voudrais"), P("we'd like", "nous voudrions")])
    a, b = d.pick(DISHES), d.pick(DISHES)
    drink = d.pick(PORTIONS[:5])
    return line(s, np(a, "a"), AND + drink if a == b else "," + np(b, "a") + P(", and", "et") + drink, PLEASE, ".")


@template("food")
def want_some(d: Draw) -> P:
    """Do you want some tea or some coffee?"""
    a, b = d.two(d.pick([DRINKS, DRINKS, MEAL_FOODS, [MASS[1], *MASS[8:]]]))
    v = verb("want = vouloir")
    return ask(YOU, v, "present", np(a, "some") + P("or", "ou") + np(b, "some"))


@template("food")
def no_more(d: Draw) -> P:
    """There is no more milk in the fridge, but there is still some cheese."""
    where = d.pick(
        pairs("in the fridge = dans le réfrigérateur; in the kitchen = dans la cuisine; on the table = sur la table")
    )
    a, b = d.two(MASS + DRINKS[:5])
    return line(
        P("there is no more", "il n'y a plus"),
        np(a, "bare-any"),
        where,
        BUT,
        P("there is still", "il y a encore"),
        np(b, "some"),
        ".",
    )


@template("food")
def too_salty(d: Draw) -> P:
    """These carrots are too salty."""
    if d.chance():
        dish, faults = d.pick(FAULTS)
        verdict = TOO + agree(d.pick(faults), dish.gender, dish.plural)
    else:
        dish = d.pick([*COOKED, SALAD, CAKE])
        praise = d.pick((GOOD_TASTE, DELICIOUS))
        verdict = (VERY if praise == GOOD_TASTE else NOTHING) + agree(praise, dish.gender, dish.plural)
    time = d.pick([NOTHING, P("today", "aujourd'hui"), P("this evening", "ce soir")])
    return line(is_(person(dish, "this"), verdict), time, ".")


@template("food")
def ate_quantity(d: Draw) -> P:
    """Paul ate two pears and a piece of cheese last night."""
    s, n, fruit = d.pick(PEOPLE), d.pick(NUMBERS[:3]), d.pick(FRUIT)
    return line(say(s, EAT, "past", np(fruit, n) + AND + d.pick(PORTIONS[5:])), d.pick(PAST_TIMES[:3]), ".")


@template("food")
def waiter(d: Draw) -> P:
    """The waiter brought us a bottle of water and a salad."""
    who = d.pick([P("the waiter", "le serveur"), P("the waitress", "la serveuse")])
    whom, fr = d.pick([("us", "nous"), ("me", "me"), ("them", "leur"), ("you", "vous")])
    portion = d.pick(PORTIONS)
    return line(who, P(f"brought {whom}", f"{fr} a apporté"), portion, AND, np(d.pick(DISHES), "a"), ".")


@template("food")
def prefer(d: Draw) -> P:
    """I like fish better than meat."""
    s, v = d.pick(PEOPLE), LIKE._replace(present=tuple(f"{x} mieux" for x in LIKE.present))
    a, b = d.two(d.pick([MASS[:8] + VEGETABLES, DRINKS]))
    return line(say(s, v, "present", np(a, "generic")), P("better than", "que"), np(b, "generic"), ".")


@template("food")
def recipe(d: Draw) -> P:
    """You need three eggs and some butter to make this cake."""
    butter, sugar, flour, milk, salt = nouns(
        "butter = beurre m; sugar = sucre m; flour = farine f; milk = lait m; salt = sel m"
    )
    thing, main, extras = d.pick(
        [
            (P("this cake", "ce gâteau"), FRUIT, (butter, sugar, flour, milk)),
            (P("this pie", "cette tarte"), FRUIT, (butter, sugar, flour, milk)),
            (P("this salad", "cette salade"), [*VEGETABLES, FRUIT[4]], (salt,)),
            (P("this soup", "cette soupe"), VEGETABLES, (butter, salt, milk)),
            (P("this omelette", "cette omelette"), [FRUIT[4], VEGETABLES[2]], (butter, salt, milk)),
        ]
    )
    n, extra = d.pick(NUMBERS[1:5]), d.pick(extras)
    return line(
        P("you need", "il faut"),
        np(d.pick(main), n),
        AND,
        np(extra, "some"),
        P("to make", "pour faire"),
        thing,
        ".",
    )


@template("food")
def restaurant(d: Draw) -> P:
    """We had dinner in a small Italian restaurant, and the fish was delicious."""
    s, dish = d.pick(PEOPLE), d.pick(COOKED)
    v = d.pick([verb("have/had lunch = déjeuner"), verb("have/had dinner = dîner")])
    place = np(
        noun("restaurant = restaurant m"),
        "a",
        d.pick([SMALL_ADJ, NEW, OLD]),
        d.pick(
            adjs(
                "Italian = italien; French = français/française; Chinese = chinois/chinoise;"
                "Japanese = japonais/japonaise"
            )
        ),
    )
    taste = d.pick([DELICIOUS, SALTY, COLD_FOOD])
    how = NOTHING if taste == DELICIOUS else TOO
    link = AND if taste == DELICIOUS else P("but", "mais")
    return line(
        say(s, v, "past", P("in", "dans") + place),
        ",",
        link,
        is_(person(dish, "the"), how + agree(taste, dish.gender, dish.plural), past=True),
        ".",
    )


@template("food")
def still_in_fridge(d: Draw) -> P:
    """Julie is going to make a vegetable soup because there are still four carrots in the fridge."""
    s, dish, n = d.pick(PEOPLE), d.pick([DISHES[0], DISHES[1], DISHES[2], DISHES[8]]), d.pick(NUMBERS[:6])
    thing = FRUIT[4] if dish == DISHES[0] else d.pick([VEGETABLES[1], VEGETABLES[2], VEGETABLES[4]])
    return line(
        say(s, BAKE, "future", np(dish, "a")),
        BECAUSE,
        P("there are still", "il y a encore"),
        np(thing, n),
        P("in the fridge", "dans le réfrigérateur"),
        ".",
    )


@template("food")
def did_not_taste(d: Draw) -> P:
    """I made a chocolate cake, but Paul didn't taste it."""
    s, t, dish = d.pick(PRONOUNS), d.pick(ONE_PERSON + COUPLES), d.pick([*DISHES[:3], *DISHES[5:7], DISHES[8]])
    n = (dish.gender, False)
    return line(
        say(s, BAKE, "past", np(dish, "a")),
        BUT,
        say(t, TASTE, "past", P("it", ""), neg="not", clitic=IT[n], agreement=n),
        ".",
    )


@template("food")
def pass_me(d: Draw) -> P:
    """Could you pass me the bread, please?"""
    what = np(d.pick(nouns("salt = sel m; pepper = poivre m; sugar = sucre m") + MASS + DRINKS[:5] + VEGETABLES), "the")
    opening = d.pick(
        pairs(
            "could you pass me = pourriez-vous me passer; could you bring us = pourriez-vous nous apporter;"
            "can you give me = pouvez-vous me donner"
        )
    )
    return line(opening, what, PLEASE, "?")


@template("food")
def add_salt(d: Draw) -> P:
    """Add a little salt to the soup and cook it for ten minutes."""
    what = d.pick(pairs("salt = sel; pepper = poivre; butter = beurre; water = eau; milk = lait"))
    dish, n = d.pick([SOUP, FISH, CHICKEN, MEAT, RICE, *VEGETABLES]), d.pick(MINUTES)
    it = P(f"cook {'them' if dish.plural else 'it'}", f"faites-{IT[dish.gender, dish.plural]} cuire")
    return line(
        P("add a little", "ajoutez un peu de"),
        what,
        P("to", "à"),
        np(dish, "the"),
        AND,
        it,
        P(f"for {n.en} minutes", f"pendant {n.fr} minutes"),
        ".",
    )


@template("food")
def who_ate(d: Draw) -> P:
    """Who ate my strawberries last night?"""
    v, foods = d.pick([(EAT, DISHES[:7]), (EAT, [f.many for f in FRUIT]), (DRINK, DRINKS)])
    whose: list[str | Subject] = [I, YOU, WE, "the"]
    thing = np(d.pick(foods), d.pick(whose))
    return line(P(f"who {v.past}", f"qui a {v.participle}"), thing, d.pick(PAST_TIMES[:3]), "?")


# --- travel ----------------------------------------------------------------------------------------------------------

ABROAD = [
    (P(name.en, f"{article} {name.fr}"), P(f"{name.en}", f"{prep} {name.fr}"))
    for article, prep, spec in (
        (
            "la",
            "en",
            "Italy = Italie; Spain = Espagne; Germany = Allemagne; Greece = Grèce; Belgium = Belgique;"
            "Ireland = Irlande",
        ),
        ("le", "à le", "Canada; Japan = Japon; Morocco = Maroc; Portugal"),
        ("les", "à les", "the United States = États-Unis"),
    )
    for name in pairs(spec)
]
COUNTRIES = [country for country, _ in ABROAD]
IN_COUNTRY = [there for _, there in ABROAD]
TO_COUNTRIES = [P(f"to {c.en}", c.fr) for c in IN_COUNTRY]
TO_CITIES = [P(f"to {c.en}", f"à {c.fr}") for c in CITIES]
TO_PLACES = TO_COUNTRIES + TO_CITIES
BY = pairs("by train = en train; by car = en voiture; by bus = en bus; by plane = en avion; by boat = en bateau")
OVERSEAS = ("Canada", "Japan", "the United States", "Montreal")
BY_SEA = ("Greece", "Ireland", "Morocco")
LONG_AGO = pairs(
    "last summer = l'été dernier; last month = le mois dernier; last year = l'année dernière;"
    "two years ago = il y a deux ans; in May = en mai; in August = en août; in 2015 = en 2015; in 2019 = en 2019"
)
LATER = pairs(
    "next summer = l'été prochain; next month = le mois prochain; next year = l'année prochaine;"
    "in June = en juin; in September = en septembre; in two weeks = dans deux semaines"
)
TRAVEL, VISIT, MISS, BOOK = (
    verb("travel = voyager"),
    verb("visit = visiter"),
    verb("miss = rater"),
    verb("book = réserver"),
)
TRAIN, BUS, PLANE = VEHICLES = nouns("train = train m; bus = bus m; plane = avion m")
LUGGAGE = nouns(
    "suitcase = valise f; passport = passeport m; ticket = billet m; camera = appareil photo/appareils photo m;"
    "backpack = sac à dos/sacs à dos m; map = carte f"
)
SIGHTS = nouns(
    "castle = château m; museum = musée m; market = marché m; church = église f; bridge = pont m; garden = jardin m"
)
HOTEL = noun("hotel = hôtel m")
BEEN = verb("be/was/been = aller")
CONDITIONAL = ("voudrais", "voudrais", "voudrait", "voudrions", "voudriez", "voudraient")
CAPITALS = [
    (next(p for p in TO_PLACES if p.en == f"to {country}"), next(c for c in CITIES if c.en == city))
    for country, city in (
        ("Italy", "Rome"),
        ("Spain", "Madrid"),
        ("Germany", "Berlin"),
        ("Greece", "Athens"),
        ("Belgium", "Brussels"),
        ("Canada", "Montreal"),
        ("Portugal", "Lisbon"),
    )
]


def journey(d: Draw, places: Sequence[P]) -> P:
    """To Italy by train: a destination with a means of transport that can reach it."""
    there = d.pick(places)
    name = there.en.removeprefix("to ")
    return there + d.pick(BY[3:4] if name in OVERSEAS else BY[3:] if name in BY_SEA else BY[:4])


@template("travel")
def went(d: Draw) -> P:
    """Marie went to Italy by train last summer."""
    return line(say(d.pick(PEOPLE), ALLER, "past", journey(d, TO_PLACES)), d.pick(LONG_AGO), ".")


@template("travel")
def will_travel(d: Draw) -> P:
    """We aren't going to travel to Japan by plane next month."""
    s = d.pick(PEOPLE)
    neg = d.pick(("", "", "not"))
    v, places = d.pick([(TRAVEL, TO_COUNTRIES), (ALLER, TO_CITIES)])
    return line(say(s, v, "future", journey(d, places), neg=neg), d.pick(LATER), ".")


@template("travel")
def departure(d: Draw) -> P:
    """The train to Lyon leaves at half past eight from platform 4."""
    city, n = d.pick(CITIES), d.pick((2, 3, 4, 5, 6, 8, 9, 12))
    vehicle, where, quai = d.pick(
        [(TRAIN, "platform", "du quai"), (BUS, "platform", "du quai"), (PLANE, "gate", "de la porte")]
    )
    if d.chance():
        clock = d.pick(CLOCK)
        time = P(f"at {clock.en}", f"à {clock.fr}")
    else:
        h, m = d.pick(((6, 40), (7, 15), (7, 45), (8, 20), (9, 15), (9, 40), (10, 20)))
        time = P(f"at {h}:{m}", f"à {h} h {m}")
    return line(
        np(vehicle, "the"),
        P(f"to {city.en} leaves", f"pour {city.fr} part"),
        time,
        P(f"from {where} {n}", f"{quai} {n}"),
        ".",
    )


@template("travel")
def late(d: Draw) -> P:
    """The plane from Rome arrived two hours late last night."""
    delay = d.pick(
        [P("an hour", "une heure"), P("two hours", "deux heures"), P("three hours", "trois heures")]
        + [P(f"{m.en} minutes", f"{m.fr} minutes") for m in MINUTES]
    )
    city, vehicle = d.pick(CITIES), np(d.pick(VEHICLES), "the")
    return line(
        vehicle,
        P(f"from {city.en} arrived", f"de {city.fr} est arrivé"),
        P(f"{delay.en} late", f"avec {delay.fr} de retard"),
        d.pick(PAST_TIMES),
        ".",
    )


@template("travel")
def tickets(d: Draw) -> P:
    """I'd like two return tickets to Lille for tomorrow morning, please."""
    n, city = d.pick(NUMBERS[:5]), d.pick(CITIES)
    kind = d.pick(
        [P(f"{n.en} tickets", f"{n.fr} billets"), P(f"{n.en} return tickets", f"{n.fr} billets aller-retour")]
    )
    s = d.pick([P("I'd like", "je voudrais"), P("we'd like", "nous voudrions")])
    day = d.pick([P(f"for {t.en}", f"pour {t.fr}") for t in [*FUTURE_TIMES[:2], FUTURE_TIMES[4], *DAYS]])
    return line(s, kind, P(f"to {city.en}", f"pour {city.fr}"), day, PLEASE, ".")


@template("travel")
def stayed_in_hotel(d: Draw) -> P:
    """Alice stayed three nights in a beautiful hotel near the beach."""
    s, n, look = d.pick(PEOPLE), d.pick(NUMBERS[:4]), d.pick([BEAUTIFUL, SMALL_ADJ, OLD, BIG, NEW])
    near = d.pick(
        pairs(
            "near the beach = près de la plage; near the station = près de la gare;"
            "near the airport = près de l'aéroport;"
            "in the old town = dans la vieille ville; near the harbor = près du port"
        )
    )
    return say(s, STAY, "past", P(f"{n.en} nights in", f"{n.fr} nuits dans") + np(HOTEL, "a", look) + near) + "."


@template("travel")
def when_leaving(d: Draw) -> P:
    """When are you leaving for Spain?"""
    s, there = d.pick([YOU, *THIRD]), d.pick(COUNTRIES + CITIES)
    return ask(s, verb("leave/left = partir"), "progressive", P(f"for {there.en}", f"pour {there.fr}"), wh=WHEN)


@template("travel")
def how_long(d: Draw) -> P:
    """How many nights is Claire going to stay in Greece?"""
    s = d.pick([YOU, *THIRD])
    wh = d.pick(
        pairs("how many nights = combien de nuits; how long = combien de temps; how many weeks = combien de semaines")
    )
    there = d.pick([P(f"in {c.en}", c.fr) for c in IN_COUNTRY] + CITY_PLACES)
    return ask(s, STAY, "future", there, wh=wh)


@template("travel")
def lost_luggage(d: Draw) -> P:
    """Thomas lost his passport at the airport yesterday."""
    s = d.pick(PEOPLE)
    # Two people have two passports, but they may share a suitcase.
    thing = d.pick([LUGGAGE[0], LUGGAGE[3], LUGGAGE[5]] if s.plural else LUGGAGE)
    v = d.pick([verb("lose/lost = perdre"), verb("forget/forgot/forgotten = oublier"), verb("leave/left = laisser")])
    place = d.pick(
        pairs(
            "at the airport = à l'aéroport; on the train = dans le train; at the station = à la gare;"
            "on the plane = dans l'avion;"
            "at the hotel = à l'hôtel; on the bus = dans le bus"
        )
    )
    return line(say(s, v, "past", np(thing, s) + place), d.pick(PAST_TIMES), ".")


@template("travel")
def visited(d: Draw) -> P:
    """They visited the old castle and the museum during their trip to Vienna."""
    s, (a, b), city = d.pick(PEOPLE), d.two(SIGHTS), d.pick(CITIES)
    return line(
        say(s, VISIT, "past", np(a, "the", *([OLD] if d.chance() else [])) + AND + np(b, "the")),
        P("during", "pendant"),
        np(noun("trip = voyage m"), s),
        P(f"to {city.en}", f"à {city.fr}"),
        ".",
    )


@template("travel")
def had_missed(d: Draw) -> P:
    """Thomas took the bus because he had missed the train to Lille."""
    s, (a, b), city = d.pick(PEOPLE), d.two(VEHICLES), d.pick(CITIES)
    return line(
        say(s, TAKE, "past", np(a, "the")),
        BECAUSE,
        say(s.pronoun, MISS, "pluperfect", np(b, "the") + P(f"to {city.en}", f"pour {city.fr}")),
        ".",
    )


@template("travel")
def booked_hotel(d: Draw) -> P:
    """The room that we booked in Lisbon is very far from the station."""
    s, thing = d.pick(PEOPLE), d.pick(nouns("hotel = hôtel m; room = chambre f; apartment = appartement m"))
    n = (thing.gender, False)
    quality = d.pick(
        [
            P("near the station", "près de la gare"),
            P("very far from the beach", "très loin de la plage"),
            TOO + agree(EXPENSIVE, *n),
            VERY + agree(adj("quiet = calme"), *n),
            TOO + agree(SMALL_ADJ, *n),
        ]
    )
    return line(
        np(thing, "the"),
        P("that", "que"),
        say(s, BOOK, "past", agreement=n),
        d.pick(CITY_PLACES),
        P("is", "est"),
        quality,
        ".",
    )


@template("travel")
def faster(d: Draw) -> P:
    """The train is faster than the bus but more expensive than the car."""
    by_speed = [BUS, noun("car = voiture f"), TRAIN, PLANE]
    fast, slow, expensive, practical = adjs(
        "fast/faster = rapide; slow/slower = lent; expensive = cher; practical = pratique"
    )
    a, b = d.two(by_speed)
    c = d.pick([v for v in by_speed if v not in (a, b)])
    x, y = d.two((fast, expensive, practical))
    if x == fast and by_speed.index(a) < by_speed.index(b):
        x = slow
    if y == fast and by_speed.index(a) < by_speed.index(c):
        y = slow
    return line(
        is_(person(a, "the"), more(x, a.gender, False)),
        THAN,
        np(b, "the"),
        P("but", "mais"),
        more(y, a.gender, False),
        THAN,
        np(c, "the"),
        ".",
    )


@template("travel")
def ever_been(d: Draw) -> P:
    """Have you ever been to Canada?"""
    s, there = d.pick([YOU, *THIRD]), d.pick(TO_PLACES)
    has = "has" if s.person == 2 else "have"
    fr = say(s, ALLER, "past", adverb=P("", "déjà")).fr
    return P(f"{has} {s.en} ever been {there.en}", f"est-ce que {fr} {there.fr}") + "?"


@template("travel")
def never_been(d: Draw) -> P:
    """My friend Julie has never been to Portugal, but she would like to visit Lisbon."""
    s, (country, city) = d.pick(PEOPLE), d.pick(CAPITALS)
    would = P(f"{s.pronoun.en} would like", f"{s.pronoun.fr} {CONDITIONAL[s.person]}")
    plan = d.pick([P(f"to visit {city.en}", f"visiter {city.fr}"), *[P("to go there", "y aller") + t for t in LATER]])
    return line(say(s, BEEN, "perfect", country, neg="never"), BUT, would, plan, ".")


# --- time and date ---------------------------------------------------------------------------------------------------

EVENTS = nouns(
    "concert = concert m; movie = film m; show = spectacle m; party/parties = fête f; ceremony = cérémonie f;"
    "exhibition = exposition f; class = cours/cours m; lecture = conférence f"
)
OPEN_PLACES = nouns(
    "library = bibliothèque f; museum = musée m; post office = poste f; bank = banque f;"
    "town hall = mairie f; park = parc m"
)


def at(clock: P) -> P:
    """At a time of day."""
    return P(f"at {clock.en}", f"à {clock.fr}")


def clock_between(*hours: str) -> list[P]:
    """The times in words whose last word is one of the given hours."""
    return [t for t in CLOCK if t.en.removesuffix(" o'clock").split()[-1] in hours]


MORNING_CLOCK = clock_between("six", "seven", "eight")
LATE_CLOCK = clock_between("nine", "ten", "eleven")
EVENT_CLOCK = clock_between("two", "three", "four", "five", "six", "seven", "eight", "nine")
EVENING_CLOCK = clock_between("five", "six", "seven", "eight", "nine")
BED_CLOCK = [*clock_between("nine", "ten", "eleven"), P("midnight", "minuit")]
OFFICE_CLOCK = clock_between("nine", "ten", "eleven", "two", "three", "four")


def date(d: Draw) -> P:
    """March 3 / le 3 mars; the first of the month has its own French form."""
    month = d.pick(MONTHS)
    day = d.pick((1, *DATES))
    return P(f"{month.en} {day}", f"le {'premier' if day == 1 else day} {month.fr}")


@template("time_and_date")
def what_time(d: Draw) -> P:
    """It's already half past seven in Montreal."""
    adverb = d.pick([P("it's already", "il est déjà"), P("it's", "il est"), P("it's almost", "il est presque")])
    return line(adverb, d.pick(CLOCK), d.pick(CITY_PLACES), ".")


@template("time_and_date")
def event_starts(d: Draw) -> P:
    """On Friday, the concert starts at a quarter past eight."""
    day, event = d.pick(DAYS), d.pick(EVENTS)
    v = d.pick([verb("start = commencer"), verb("end = finir")])
    return line(
        P(f"on {day.en},", f"{day.fr} ,"), say(person(event, "the"), v, "present", at(d.pick(EVENT_CLOCK))), "."
    )


@template("time_and_date")
def opening_hours(d: Draw) -> P:
    """The library is open from nine in the morning to six in the evening on Saturdays."""
    place, a, b, day = d.pick(OPEN_PLACES), d.pick(HOURS[6:10]), d.pick(HOURS[4:8]), d.pick(MONDAYS)
    opened = agree(adj("open = ouvert"), place.gender, False)
    return line(
        is_(person(place, "the"), opened + P(f"from {a.en} in the morning", f"de {hour(a).fr} du matin")),
        P(f"to {b.en} in the evening", f"à {hour(b).fr} du soir"),
        day,
        ".",
    )


@template("time_and_date")
def closing_time(d: Draw) -> P:
    """The museum doesn't close at five o'clock on Sundays."""
    v = d.pick([verb("open = ouvrir"), verb("close = fermer")])
    clock = d.pick(MORNING_CLOCK if v.en == "open" else EVENING_CLOCK)
    neg = d.pick(("", "", "not"))
    return line(say(person(d.pick(OPEN_PLACES), "the"), v, "present", at(clock), neg=neg), d.pick(MONDAYS), ".")


@template("time_and_date")
def today_is(d: Draw) -> P:
    """Today is Tuesday, May 1."""
    day = d.pick(DAYS)
    when = date(d)
    return (
        P(f"today is {day.en}, {when.en}", f"aujourd'hui, nous sommes le {day.fr} {when.fr.removeprefix('le ')}") + "."
    )


@template("time_and_date")
def event_date(d: Draw) -> P:
    """The exhibition starts on March 3 and ends on April 12."""
    event = d.pick(nouns("exhibition = exposition f; festival = festival/festivals m; +vacation/vacation = vacances f"))
    (first, last), (x, y) = d.pick(list(itertools.pairwise(MONTHS))), d.two(DATES)
    s = person(event, "the")
    starts, ends = ("commencent", "finissent") if s.plural else ("commence", "finit")
    return line(
        P(f"{s.en} starts on {first.en} {x}", f"{s.fr} {starts} le {x} {first.fr}"),
        P(f"and ends on {last.en} {y}", f"et {ends} le {y} {last.fr}"),
        ".",
    )


@template("time_and_date")
def birthday(d: Draw) -> P:
    """Claire's birthday is on March 3."""
    s, when = d.pick([I, WE, YOU, *NAMES]), date(d)
    if s == WE:
        return P(f"our anniversary is on {when.en}", f"notre anniversaire de mariage est {when.fr}") + "."
    if s in (I, YOU):
        return line(np(noun("birthday = anniversaire m"), s), P(f"is on {when.en}", f"est {when.fr}"), ".")
    return P(f"{s.en}'s birthday is on {when.en}", f"l'anniversaire de {s.fr} est {when.fr}") + "."


@template("time_and_date")
def what_hour_question(d: Draw) -> P:
    """What time does the concert start on Friday?"""
    event, day = d.pick(EVENTS), d.pick(DAYS)
    v = d.pick([verb("start = commencer"), verb("end = finir")])
    wh = P("what time", "à quelle heure")
    return ask(person(event, "the"), v, "present", P(f"on {day.en}", day.fr), wh=wh)


GET_UP = [verb("get/got up = se lever"), verb("wake/woke up = se réveiller")]
GO_TO_BED = verb("go/went to bed = se coucher")


@template("time_and_date")
def routine(d: Draw) -> P:
    """I always get up at half past six on Mondays."""
    s, v = d.pick(PEOPLE), d.pick([*GET_UP, GO_TO_BED])
    how = d.pick(pairs("always = toujours; often = souvent; never = "))
    clock = d.pick(BED_CLOCK if v == GO_TO_BED else MORNING_CLOCK)
    if how.en == "never":
        return line(say(s, v, "present", at(clock), neg="never"), d.pick(MONDAYS), ".")
    return line(say(s, v, "present", at(clock), adverb=how), d.pick(MONDAYS), ".")


@template("time_and_date")
def got_up(d: Draw) -> P:
    """Emma didn't get up at seven o'clock this morning."""
    s, v, a = d.pick(PEOPLE), d.pick(GET_UP), d.pick(MORNING_CLOCK)
    clause = say(s, v, "past", at(a), neg=d.pick(("", "", "not"))) + d.pick(
        pairs("this morning = ce matin; yesterday morning = hier matin; on Sunday = dimanche")
    )
    return clause + "."


@template("time_and_date")
def two_times(d: Draw) -> P:
    """Marie got up at seven o'clock yesterday and went to bed at half past nine."""
    s, v, a, b = d.pick(PEOPLE), d.pick(GET_UP), d.pick(MORNING_CLOCK), d.pick(BED_CLOCK)
    return line(
        say(s, v, "past", at(a)),
        d.pick(pairs("yesterday = hier; on Tuesday = mardi; on Saturday = samedi")),
        AND,
        say(s, GO_TO_BED, "past", at(b), subject=False),
        ".",
    )


@template("time_and_date")
def lasts(d: Draw) -> P:
    """The show lasts two hours and starts at nine o'clock."""
    n, event = d.pick(SMALL), d.pick(EVENTS)
    return line(
        say(person(event, "the"), verb("last = durer"), "present", P(f"{n.en} hours", f"{n.fr} heures")),
        P("and starts", "et commence"),
        at(d.pick(EVENT_CLOCK)),
        ".",
    )


@template("time_and_date")
def days_in_month(d: Draw) -> P:
    """How many Mondays are there in June this year?"""
    what = d.pick([P("days", "jours"), *[P(f"{x.en}s", f"{x.fr}s") for x in DAYS]])
    year = NOTHING if what.en == "days" else P("this year", "cette année")
    return line(P("how many", "combien de"), what, P("are there in", "y a-t-il en"), d.pick(MONTHS), year, "?")


@template("time_and_date")
def clock_is_slow(d: Draw) -> P:
    """The clock in the kitchen is ten minutes slow."""
    which = d.pick(
        pairs(
            "the clock in the kitchen = l'horloge de la cuisine; my watch = ma montre;"
            "your watch = votre montre;"
            "the clock in the library = l'horloge de la bibliothèque; our clock = notre horloge"
        )
    )
    n = d.pick(MINUTES)
    how = d.pick(
        [
            P(f"{n.en} minutes slow", f"retarde de {n.fr} minutes"),
            P(f"{n.en} minutes fast", f"avance de {n.fr} minutes"),
        ]
    )
    return P(f"{which.en} is {how.en}", f"{which.fr} {how.fr}") + "."


@template("time_and_date")
def hurry_up(d: Draw) -> P:
    """Hurry up, the party starts in twenty minutes!"""
    n = d.pick([*MINUTES, *NUMBERS[1:3]])
    starts = person(d.pick(EVENTS), "the").text + P(f"starts in {n.en} minutes", f"commence dans {n.fr} minutes")
    ending = d.pick([P("", ""), P(", at", ", à") + d.pick(EVENING_CLOCK)])
    return line(P("hurry up,", "dépêchez-vous ,"), starts, ending, "!")


@template("time_and_date")
def late_because(d: Draw) -> P:
    """Lucas was late on Tuesday because he woke up at half past nine."""
    s, v = d.pick(PEOPLE), d.pick(GET_UP)
    day = d.pick([P("yesterday", "hier"), *[P(f"on {x.en}", x.fr) for x in DAYS]])
    return line(
        is_(s, P("late", "en retard"), past=True), day, BECAUSE, say(s.pronoun, v, "past", at(d.pick(LATE_CLOCK))), "."
    )


# --- shopping --------------------------------------------------------------------------------------------------------

CLOTHES = nouns(
    "shirt = chemise f; coat = manteau m; dress = robe f; skirt = jupe f; hat = chapeau m;"
    "jacket = veste f; sweater = pull m;"
    "tie = cravate f; scarf/scarves = écharpe f; bag = sac m; umbrella = parapluie m"
)
SHOES = nouns("+shoe = chaussure f; +boot = botte f; +glove = gant m; +sock = chaussette f")
GOODS = CLOTHES + SHOES
SHOPS = pairs(
    "at the market = au marché; in a small shop = dans une petite boutique;"
    "at a department store = dans un grand magasin;"
    "online = en ligne"
)
BUY, SEE, SELL = verb("buy/bought = acheter"), verb("see/saw/seen = voir"), verb("sell/sold = vendre")
PRICES = (12, 15, 18, 20, 25, 30, 45, 60, 80)
SIZES = adjs(
    "big/bigger = <grand; small/smaller = <petit; long/longer = long/longue; short/shorter = court; expensive = cher"
)


def sizes(thing: Noun) -> list[Adj]:
    """What can be wrong with a thing: only clothes that hang are too long or too short."""
    hangs = thing.en in ("shirt", "coat", "dress", "skirt", "jacket", "sweater", "tie", "scarf")
    return SIZES if hangs else [a for a in SIZES if a.en not in ("long", "short")]


def it_was(n: Noun) -> P:
    """*It was* or *they were*, with the French pronoun in the gender of a noun."""
    elle = "elle" if n.gender == "f" else "il"
    return P("they were", f"{elle}s étaient") if n.plural else P("it was", f"{elle} était")


@template("shopping")
def how_much(d: Draw) -> P:
    """How much does this blue shirt cost?"""
    thing = d.pick(GOODS)
    this = np(thing, "this", d.pick(COLORS))
    fr = "combien coûtent" if thing.plural else "combien coûte"
    return P(f"how much {'do' if thing.plural else 'does'} {this.en} cost", f"{fr} {this.fr}") + "?"


@template("shopping")
def costs(d: Draw) -> P:
    """The red dress costs 45 euros, but the black dress costs only 30 euros."""
    thing, (a, b), (x, y) = d.pick(GOODS), d.two(COLORS), d.two(PRICES)
    low, high = sorted((x, y))
    v = verb("cost/cost = coûter")
    return line(
        say(person(thing, "the", a), v, "present", P(f"{high} euros", f"{high} euros")),
        BUT,
        say(person(thing, "the", b), v, "present", P(f"only {low} euros", f"seulement {low} euros")),
        ".",
    )


@template("shopping")
def bought(d: Draw) -> P:
    """Marie bought a pretty green dress at the market yesterday."""
    s, thing = d.pick(PEOPLE), d.pick(GOODS)
    look = [d.pick([PRETTY, BEAUTIFUL, NEW, BIG])] + ([d.pick(COLORS)] if d.chance() else [])
    neg = d.pick(("", "", "", "not"))
    what = np(thing, "the" if neg else ("some" if thing.plural else "a"), *look)
    return line(say(s, BUY, "past", what, neg=neg), d.pick(SHOPS), d.pick(PAST_TIMES), ".")


@template("shopping")
def looking_for(d: Draw) -> P:
    """I'm looking for a black jacket for Paul."""
    s, thing, color = d.pick(PEOPLE), d.pick(CLOTHES), d.pick(COLORS)
    whom = d.pick(others(NAMES, s))
    v = verb("look for = chercher")
    return say(s, v, "progressive", np(thing, "a", color) + P(f"for {whom.en}", f"pour {whom.fr}")) + "."


@template("shopping")
def pricier(d: Draw) -> P:
    """The gray sweater is more expensive than the white shirt."""
    (a, b), x, y = d.two(GOODS), d.pick(COLORS), d.pick(COLORS)
    s = person(a, "the", x)
    how = d.pick(
        [
            more(EXPENSIVE, s.gender, s.plural),
            P("cheaper", "moins " + agree(EXPENSIVE, s.gender, s.plural).fr),
            more(PRETTY, s.gender, s.plural),
        ]
    )
    return line(is_(s, how), THAN, np(b, "the", y), ".")


@template("shopping")
def did_not_buy(d: Draw) -> P:
    """I saw a beautiful hat, but I didn't buy it because it was too expensive."""
    s, thing = d.pick(PEOPLE), d.pick(GOODS)
    n = (thing.gender, thing.plural)
    what = np(thing, "some" if thing.plural else "a", d.pick([BEAUTIFUL, PRETTY]))
    return line(
        say(s, SEE, "past", what),
        BUT,
        say(s.pronoun, BUY, "past", P("them" if n[1] else "it", ""), neg="not", clitic=IT[n], agreement=n),
        BECAUSE,
        it_was(thing),
        TOO,
        agree(d.pick(sizes(thing)), *n),
        ".",
    )


@template("shopping")
def have_in_color(d: Draw) -> P:
    """Do you have this jacket in black?"""
    what = np(d.pick(GOODS), "this")
    how = d.pick(
        [P(f"in {c.en}", f"en {c.forms[0]}") for c in COLORS]
        + pairs("in a larger size = dans une taille plus grande; in a smaller size = dans une taille plus petite")
    )
    return ask(YOU, AVOIR, "present", what + how)


@template("shopping")
def pay_by(d: Draw) -> P:
    """Can I pay for the boots by card?"""
    s = d.pick([P("can I pay", "est-ce que je peux payer"), P("can we pay", "est-ce que nous pouvons payer")])
    how = d.pick(pairs("by card = par carte; in cash = en espèces; by check = par chèque"))
    return line(s, P("for", ""), np(d.pick(GOODS), d.pick(["the", "this"])), how, "?")


@template("shopping")
def too_small(d: Draw) -> P:
    """These shoes are too small for Paul."""
    thing = d.pick(GOODS)
    s, size = person(thing, "this", *([d.pick(COLORS)] if d.chance() else [])), d.pick(sizes(thing))
    whom = d.pick(
        [P("for me", "pour moi"), P("for you", "pour vous"), *[P(f"for {x.en}", f"pour {x.fr}") for x in NAMES]]
    )
    return is_(s, TOO + agree(size, s.gender, s.plural) + whom) + "."


@template("shopping")
def shop_sells(d: Draw) -> P:
    """The shop on the corner sells pretty dresses and white shirts."""
    shop = d.pick(
        pairs(
            "the shop on the corner = la boutique du coin; this shop = cette boutique; this store = ce magasin;"
            "the store near the station = le magasin près de la gare"
        )
    )
    a, b = d.two([g.many for g in GOODS])
    return line(
        P(f"{shop.en} sells", f"{shop.fr} vend"),
        np(a, "bare", d.pick([PRETTY, BEAUTIFUL, OLD])),
        AND,
        np(b, "bare", d.pick(COLORS)),
        ".",
    )


@template("shopping")
def took_back(d: Draw) -> P:
    """Claire exchanged the dress because it was too long."""
    s, thing = d.pick(PEOPLE), d.pick(GOODS)
    v = d.pick([verb("exchange = échanger"), verb("return = rendre")])
    n = (thing.gender, thing.plural)
    return line(
        say(s, v, "past", np(thing, "the", d.pick(COLORS))),
        BECAUSE,
        it_was(thing),
        TOO,
        agree(d.pick(sizes(thing)), *n),
        ".",
    )


@template("shopping")
def spent(d: Draw) -> P:
    """Thomas spent 60 euros on a new tie last week."""
    s, price, thing = d.pick(PEOPLE), d.pick(PRICES), d.pick(CLOTHES)
    what = np(thing, "a", d.pick([NEW, PRETTY]))
    return line(
        say(
            s, verb("spend/spent = dépenser"), "past", P(f"{price} euros on {what.en}", f"{price} euros pour {what.fr}")
        ),
        d.pick(PAST_TIMES),
        ".",
    )


@template("shopping")
def show_me(d: Draw) -> P:
    """Could you show me the red scarf, please?"""
    what = np(d.pick(GOODS), d.pick(["the", "this"]), d.pick(COLORS))
    if d.chance():
        return line(P("show me", "montrez-moi"), what, PLEASE, ".")
    return line(P("could you show me", "pourriez-vous me montrer"), what, PLEASE, "?")


@template("shopping")
def the_one_that(d: Draw) -> P:
    """The shoes that you bought are very pretty."""
    s, thing = d.pick(PEOPLE), d.pick(GOODS)
    n = (thing.gender, thing.plural)
    how, quality = d.pick([(VERY, PRETTY), *[(how, size) for how in (TOO, VERY) for size in sizes(thing)]])
    return line(
        np(thing, "the"),
        P("that", "que"),
        say(s, BUY, "past", agreement=n),
        d.pick([NOTHING, *SHOPS[:3]]),
        P("are" if n[1] else "is", "sont" if n[1] else "est"),
        how,
        agree(quality, *n),
        ".",
    )


@template("shopping")
def why_buy(d: Draw) -> P:
    """Where did Alice buy these brown boots?"""
    s, wh = d.pick([YOU, *THIRD]), d.pick(pairs("where = où; when = quand; why = pourquoi"))
    return ask(s, BUY, "past", np(d.pick(GOODS), "this", *([d.pick(COLORS)] if d.chance() else [])), wh=wh)


# --- family ----------------------------------------------------------------------------------------------------------

KIN = nouns(
    "mother = mère f; father = père m; brother = frère m; sister = sœur f; uncle = oncle m;"
    "aunt = tante f; cousin = cousin m;"
    "grandmother = grand-mère f; grandfather = grand-père m; son = fils m; daughter = fille f;"
    "nephew = neveu m; niece = nièce f"
)
MOTHER, FATHER, BROTHER, SISTER, UNCLE, AUNT, COUSIN, GRANDMA, GRANDPA, SON, DAUGHTER, NEPHEW, NIECE = KIN
ELDERS, CHILDREN = (
    [MOTHER, FATHER, UNCLE, AUNT, GRANDMA, GRANDPA],
    [BROTHER, SISTER, COUSIN, SON, DAUGHTER, NEPHEW, NIECE],
)
FAMILIES = nouns(
    "+parent = parent m; +grandparent = grands-parents/grands-parents m; +cousin = cousin m; +child/children = enfant m"
)
OWNERS = [I, WE, YOU]
CHARACTER = adjs(
    "tall/taller = <grand; young/younger = <jeune; old/older = âgé; patient = patient; serious = sérieux;"
    "funny/funnier = drôle; shy/shyer = timide; generous = généreux; strong/stronger = fort"
)
AGES = pairs(
    "four = quatre; six; seven = sept; eight = huit; ten = dix; twelve = douze; fifteen = quinze;"
    "twenty = vingt; thirty = trente; forty = quarante"
)
FAMILY_PLACES = pairs(
    "in a big house near Bordeaux = dans une grande maison près de Bordeaux;"
    "in an old house in Lille = dans une vieille maison à Lille;"
    "in a small village = dans un petit village; in a new apartment in Paris = dans un nouvel appartement à Paris;"
    "in Geneva = à Genève; in Brussels = à Bruxelles; in the countryside = à la campagne;"
    "near the sea = près de la mer"
)


def owner_of(d: Draw) -> Subject:
    """The owner in *my sister*, *our sister* or *your sister*."""
    return d.pick(OWNERS)


@template("family")
def age(d: Draw) -> P:
    """My brother is twelve years old, and my sister is ten."""
    o, (a, b), (x, y) = owner_of(d), d.two(CHILDREN), d.two(AGES[:8])
    s, t = person(a, o), person(b, o)
    return line(
        is_(s, P("", ""))._replace(fr=f"{s.fr} a"),
        P(f"{x.en} years old,", f"{x.fr} ans"),
        AND,
        P(f"{t.en} is {y.en}", f"{t.fr} a {y.fr} ans"),
        ".",
    )


@template("family")
def taller(d: Draw) -> P:
    """My sister is taller than my brother."""
    # Ages are compared within a generation only.
    kin, qualities = d.pick([(ELDERS, [*CHARACTER[:1], *CHARACTER[3:]]), (CHILDREN, CHARACTER)])
    o, (a, b), quality = owner_of(d), d.two(kin), d.pick(qualities)
    s = person(a, o)
    return line(is_(s, more(quality, a.gender, False), neg=d.pick((False, False, True))), THAN, np(b, o), ".")


@template("family")
def live(d: Draw) -> P:
    """Our grandparents live in a big house near Bordeaux."""
    s = person(d.pick(KIN + FAMILIES), owner_of(d))
    neg = d.pick(("", "", "anymore"))
    return say(s, verb("live = habiter"), "present", d.pick(FAMILY_PLACES), neg=neg) + "."


@template("family")
def how_old(d: Draw) -> P:
    """How old is your uncle?"""
    o = d.pick([I, WE, YOU, *NAMES])
    k = d.pick(KIN)
    named = Subject(f"{o.en}'s {k.en}", np(k, "the").fr + f" de {o.fr}", 2, k.gender)
    s = named if o in NAMES else person(k, o)
    if d.chance():
        return P(f"how old is {s.en}", f"quel âge a {s.fr}") + "?"
    return P(f"where does {s.en} live", f"où habite {s.fr}") + "?"


@template("family")
def do_you_have(d: Draw) -> P:
    """How many cousins does Paul have?"""
    s, k = (
        d.pick([YOU, *THIRD]),
        d.pick([c.many for c in (BROTHER, SISTER, COUSIN, NIECE, NEPHEW, UNCLE, AUNT)] + FAMILIES[3:]),
    )
    return ask(s, AVOIR, "present", wh=P("how many", "combien de") + np(k, "none"))


@template("family")
def calls(d: Draw) -> P:
    """Antoine calls his mother every Sunday because he misses her."""
    s, k = d.pick(PEOPLE), d.pick(KIN)
    v = d.pick(
        [verb("call = appeler"), verb("visit = aller voir")._replace(present=tuple(f"{x} voir" for x in ALLER.present))]
    )
    p = s.pronoun
    miss = "misses" if p.person == 2 else "miss"
    her, elle = ("her", "elle") if k.gender == "f" else ("him", "il")
    me = {0: "me", 2: "lui", 3: "nous", 4: "vous", 5: "leur"}[p.person]
    return line(
        say(s, v, "present", np(k, s)),
        d.pick(EVERY_DAY),
        BECAUSE,
        P(f"{p.en} {miss} {her}", f"{elle} {me} manque"),
        ".",
    )


@template("family")
def looks_like(d: Draw) -> P:
    """Julie doesn't look like her mother."""
    s, k = d.pick(PEOPLE), d.pick(KIN)
    v = verb("look like = ressembler")
    return say(s, v, "present", P("", "à") + np(k, s), neg=d.pick(("", "not"))) + "."


@template("family")
def born(d: Draw) -> P:
    """My aunt was born in Lyon in 1985."""
    kin, years = d.pick(
        [
            ([GRANDMA, GRANDPA], (1935, 1942, 1948)),
            ([MOTHER, FATHER, UNCLE, AUNT], (1952, 1960, 1967)),
            (CHILDREN, (1985, 1990, 1998, 2006)),
        ]
    )
    s, year = person(d.pick(kin), owner_of(d)), d.pick(years)
    return line(
        P(f"{s.en} was born", say(s, verb("be = naître"), "past").fr),
        d.pick(CITY_PLACES),
        P(f"in {year}", f"en {year}"),
        ".",
    )


@template("family")
def got_married(d: Draw) -> P:
    """Our parents got married in Lille in 1975."""
    pair, years = d.pick([(FAMILIES[0], (1975, 1983, 1985, 1990)), (FAMILIES[1], (1952, 1960, 1967))])
    o = d.pick([I, WE, YOU, *NAMES])
    s = (
        person(pair, o)
        if o not in NAMES
        else Subject(f"{o.en}'s {pair.en_plural}", f"les {pair.fr_plural} de {o.fr}", 5, "m")
    )
    v = d.pick([verb("get/got married = se marier"), verb("meet/met = se rencontrer")])
    year = d.pick(years)
    return line(say(s, v, "past"), d.pick(CITY_PLACES), P(f"in {year}", f"en {year}"), ".")


@template("family")
def learning(d: Draw) -> P:
    """Our daughter is learning to read, but our son already reads very well."""
    o, (a, b) = d.pick(OWNERS), d.two([SON, DAUGHTER, NEPHEW, NIECE])
    v = d.pick(
        [
            verb(x)
            for x in ("read/read = lire", "write/wrote = écrire", "walk = marcher", "count = compter", "talk = parler")
        ]
    )
    s, t = person(a, o), person(b, o)
    return line(
        say(s, verb("learn = apprendre"), "progressive", P(f"to {v.en}", f"à {v.inf}")),
        BUT,
        say(t, v, "present", P("very well", "très bien"), adverb=P("already", "déjà")),
        ".",
    )


@template("family")
def woman_who(d: Draw) -> P:
    """The woman who is talking to my uncle is my grandmother."""
    o, a = d.pick(OWNERS), d.pick([*ELDERS, BROTHER, SISTER, COUSIN])
    b = d.pick([k for k in KIN if k != a])
    who, assis = (P("the woman", "la femme"), "assise") if a.gender == "f" else (P("the man", "l'homme"), "assis")
    action = d.pick(pairs(f"talking to = parle à; waiting for = attend; sitting next to = est {assis} à côté de"))
    return line(who, P("who is", "qui"), action, np(b, o), P("is", "est"), np(a, o), ".")


@template("family")
def of_my_brother(d: Draw) -> P:
    """My brother's daughter is very shy."""
    husband, wife = nouns("husband = mari m; wife/wives = femme f")
    o = d.pick(OWNERS)
    a, kin = d.pick(
        [
            (BROTHER, [SON, DAUGHTER, wife]),
            (SISTER, [SON, DAUGHTER, husband]),
            (UNCLE, [SON, DAUGHTER, wife]),
            (AUNT, [SON, DAUGHTER, husband]),
            (COUSIN, [BROTHER, SISTER, FATHER, MOTHER, wife]),
        ]
    )
    b = d.pick(kin)
    s = Subject(f"{np(a, o).en}'s {b.en}", f"{np(b, 'the').fr} de {np(a, o).fr}", 2, b.gender)
    return is_(s, VERY + agree(d.pick([*CHARACTER[:1], *CHARACTER[3:]]), b.gender, False)) + "."


@template("family")
def happy_because(d: Draw) -> P:
    """My sister is happy because our grandmother is going to come for dinner on Sunday."""
    o, (a, b), day = d.pick(OWNERS), d.two(KIN), d.pick(DAYS)
    s, t = person(a, o), person(b, o)
    glad = d.pick(adjs("happy = content/contente; surprised = surpris/surprise"))
    what = d.pick(pairs("come for dinner = venir dîner; come for lunch = venir déjeuner"))
    return line(
        is_(s, agree(glad, a.gender, False)),
        BECAUSE,
        P(f"{t.en} is going to", f"{t.fr} va"),
        what,
        P(f"on {day.en}", day.fr),
        ".",
    )


PRESENTS = nouns(
    "book = livre m; bicycle = vélo m; doll = poupée f; watch = montre f; bracelet = bracelet m;"
    "guitar = guitare f; toy = jouet m"
)


@template("family")
def gift(d: Draw) -> P:
    """I gave my niece a beautiful doll for her birthday."""
    s, k, thing, look = d.pick(PEOPLE), d.pick(KIN), d.pick(PRESENTS), d.pick([BEAUTIFUL, NEW, PRETTY])
    given, whom = np(thing, "a", look), np(k, s)
    her = "her" if k.gender == "f" else "his"
    return line(
        say(s, verb("give/gave/given = offrir"), "past", P(f"{whom.en} {given.en}", f"{given.fr} à {whom.fr}")),
        P(f"for {her} birthday", "pour son anniversaire"),
        ".",
    )


@template("family")
def argue(d: Draw) -> P:
    """My brother and my cousin often argue."""
    o, (a, b) = d.pick(OWNERS), d.two(KIN)
    s = Subject(
        f"{np(a, o).en} and {np(b, o).en}",
        f"{np(a, o).fr} et {np(b, o).fr}",
        5,
        "f" if a.gender == b.gender == "f" else "m",
    )
    v = d.pick([verb("argue = se disputer"), verb("call each other = se téléphoner"), verb("see each other = se voir")])
    how = d.pick(pairs("often = souvent; never = jamais; rarely = rarement"))
    return (
        say(s, v, "present", neg="never" if how.en == "never" else "", adverb=how if how.en != "never" else NOTHING)
        + "."
    )


@template("family")
def christmas(d: Draw) -> P:
    """We're going to spend Christmas at our grandparents' house."""
    s, k = d.pick(PEOPLE), d.pick([FAMILIES[0], FAMILIES[1], *ELDERS[2:]])
    host = np(k, s)
    what = d.pick(
        pairs(
            "Christmas = Noël; the weekend = le week-end; the day = la journée;"
            "two weeks = deux semaines; the summer = l'été"
        )
    )
    v = verb("spend/spent = passer")
    house = P(f"at {host.en}' house" if k.plural else f"at {host.en}'s house", f"chez {host.fr}")
    return line(say(s, v, d.pick(["future", "past"]), what), house, ".")


@template("family")
def was_young(d: Draw) -> P:
    """When my grandfather was young, he used to live near the sea."""
    k = d.pick([*ELDERS, *FAMILIES[:2]])
    s = person(k, owner_of(d))
    v = d.pick([verb("live = habiter"), verb("work = travailler")])
    return line(
        WHEN,
        is_(s, agree(YOUNG, k.gender, k.plural), past=True),
        ",",
        say(s.pronoun, v, "used", d.pick([*FAMILY_PLACES[4:], *CITY_PLACES])),
        ".",
    )


# --- health ----------------------------------------------------------------------------------------------------------

BODY = pairs(
    "back = au dos; head = à la tête; throat = à la gorge; stomach = au ventre; knee = au genou;"
    "shoulder = à l'épaule;"
    "foot = au pied; arm = au bras; leg = à la jambe; hand = à la main"
)
ILLS = pairs(
    "a fever = de la fièvre; the flu = la grippe; a bad cough = une mauvaise toux; a headache = mal à la tête;"
    "a sore throat = mal à la gorge"
)
STATES = adjs("sick = malade; tired = fatigué; pale = pâle; weak = faible")
SINCE = pairs(
    "since yesterday = depuis hier; since this morning = depuis ce matin;"
    "since Monday = depuis lundi; since Friday = depuis vendredi;"
    "for two days = depuis deux jours; for three days = depuis trois jours;"
    "for a week = depuis une semaine; for a month = depuis un mois"
)
DOCTORS = pairs("the doctor = le médecin; the dentist = le dentiste; the eye doctor = l'ophtalmologue")
FEEL, SLEEP = verb("feel/felt = se sentir"), verb("sleep/slept = dormir")
ONE = [I, HE, SHE, *ONE_PERSON]
WHOSE = [I, YOU, HE, SHE, *NAMES, *FRIENDS]


def possessor(s: Subject) -> str:
    """my, your, his, her, Paul's."""
    return {"I": "my", "you": "your", "he": "his", "she": "her"}.get(s.en, f"{s.en}'s")


@template("health")
def hurts_since(d: Draw) -> P:
    """Paul's back has been hurting since Monday."""
    s, part = d.pick(WHOSE), d.pick(BODY)
    return line(
        P(f"{possessor(s)} {part.en} has been hurting", f"{s.fr} {AVOIR.present[s.person]} mal {part.fr}"),
        d.pick(SINCE),
        ".",
    )


@template("health")
def hurts_because(d: Draw) -> P:
    """My knee hurts because I fell on the stairs."""
    s, part = d.pick(WHOSE), d.pick([BODY[0], *BODY[4:]])
    fell = verb("fall/fell/fallen = tomber")
    p = s.pronoun
    where = d.pick(
        pairs(
            "on the stairs = dans l'escalier; in the street = dans la rue;"
            "in the garden = dans le jardin; in the bathroom = dans la salle de bains"
        )
    )
    return line(
        P(f"{possessor(s)} {part.en} hurts", f"{s.fr} {AVOIR.present[s.person]} mal {part.fr}"),
        BECAUSE,
        say(p, fell, "past", where),
        ".",
    )


@template("health")
def has_illness(d: Draw) -> P:
    """Claire has had the flu since Friday."""
    s, ill = d.pick(PEOPLE), d.pick(ILLS)
    since = d.pick(SINCE)
    has = "has" if s.person == 2 else "have"
    return line(P(f"{s.en} {has} had {ill.en}", f"{s.fr} {AVOIR.present[s.person]} {ill.fr}"), since, ".")


@template("health")
def is_sick(d: Draw) -> P:
    """Julie isn't sick anymore, but she's still tired."""
    s, state = d.pick(PEOPLE), d.two(STATES)
    p = s.pronoun
    fr = f"{s.fr} ne {ETRE.present[s.person]} plus"
    en = be_plain(s, negative=True)
    return line(
        P(en, fr),
        agree(state[0], s.gender, s.plural),
        P("anymore", ""),
        BUT,
        P(be_plain(p) + " still", f"{p.fr} {ETRE.present[p.person]} encore"),
        agree(state[1], s.gender, s.plural),
        ".",
    )


def be_plain(s: Subject, negative: bool = False) -> str:
    """Subject with *be* in the present."""
    return is_(s, NOTHING, neg=negative).en.strip()


@template("health")
def should_see(d: Draw) -> P:
    """You should see a doctor because you have a fever."""
    s, ill = d.pick(PEOPLE), d.pick(ILLS)
    who = d.pick(
        pairs(
            "see a doctor = voir un médecin; call the doctor = appeler le médecin;"
            "stay in bed = rester au lit; go to the pharmacy = aller à la pharmacie"
        )
    )
    p = s.pronoun
    should = ("devrais", "devrais", "devrait", "devrions", "devriez", "devraient")[s.person]
    return line(P(f"{s.en} should", f"{s.fr} {should}"), who, BECAUSE, say(p, AVOIR, "present", ill), ".")


@template("health")
def take_medicine(d: Draw) -> P:
    """Take this medicine twice a day before meals."""
    what = d.pick(
        pairs(
            "this medicine = ce médicament; this syrup = ce sirop; two tablets = deux comprimés;"
            "these pills = ces pilules;"
            "a spoonful of syrup = une cuillerée de sirop"
        )
    )
    often = d.pick(
        pairs(
            "twice a day = deux fois par jour; once a day = une fois par jour; three times a day = trois fois par jour"
        )
    )
    time = d.pick(
        pairs(
            "before meals = avant les repas; after meals = après les repas;"
            "for a week = pendant une semaine; for ten days = pendant dix jours;"
            "with a glass of water = avec un verre d'eau"
        )
    )
    if d.chance():
        return line(P("take", "prenez"), what, often, time, ".")
    return line(P("you have to take", "vous devez prendre"), what, often, time, ".")


@template("health")
def broke(d: Draw) -> P:
    """Julie broke her leg last week."""
    s = d.pick(ONE)
    v, fr = d.pick(
        [
            ("break/broke = se casser*", "le bras"),
            ("break/broke = se casser*", "la jambe"),
            ("burn = se brûler*", "la main"),
            ("hurt/hurt = se blesser", "au genou"),
            ("hurt/hurt = se blesser", "à l'épaule"),
            ("hurt/hurt = se blesser", "au dos"),
        ]
    )
    part = {
        "le bras": "arm",
        "la jambe": "leg",
        "la main": "hand",
        "au genou": "knee",
        "à l'épaule": "shoulder",
        "au dos": "back",
    }[fr]
    mine = {"I": "my", "he": "his", "she": "her"}.get(s.en, "her" if s.gender == "f" else "his")
    return line(say(s, verb(v), "past", P(f"{mine} {part}", fr)), d.pick(PAST_TIMES), ".")


@template("health")
def appointment(d: Draw) -> P:
    """I have an appointment with the dentist on Tuesday at ten o'clock."""
    s, who, day = d.pick(PEOPLE), d.pick(DOCTORS), d.pick(DAYS[:6])
    return line(
        say(s, AVOIR, "present", P(f"an appointment with {who.en}", f"rendez-vous chez {who.fr}")),
        P(f"on {day.en}", day.fr),
        at(d.pick(OFFICE_CLOCK)),
        ".",
    )


@template("health")
def since_when(d: Draw) -> P:
    """Since when have you had a headache?"""
    s = d.pick([YOU, *THIRD])
    ill = d.pick(ILLS)
    has = "has" if s.person == 2 else "have"
    return (
        P(f"since when {has} {s.en} had {ill.en}", f"depuis quand est-ce que {s.fr} {AVOIR.present[s.person]} {ill.fr}")
        + "?"
    )


@template("health")
def stayed_in_bed(d: Draw) -> P:
    """Alice stayed in bed yesterday because she had the flu."""
    s = d.pick(PEOPLE)
    time = d.pick(
        [
            *PAST_TIMES[:1],
            *PAST_TIMES[2:5],
            *pairs("on Tuesday = mardi; on Sunday = dimanche; all day = toute la journée"),
        ]
    )
    return line(
        say(s, STAY, "past", P("in bed", "au lit")), time, BECAUSE, say(s.pronoun, AVOIR, "state", d.pick(ILLS)), "."
    )


@template("health")
def doctor_told(d: Draw) -> P:
    """The doctor told Paul to drink a lot of water and to rest."""
    s = d.pick(ONE_PERSON)
    a, b = d.two(
        pairs(
            "to drink a lot of water = de boire beaucoup d'eau; to rest = de se reposer;"
            "to work less = de travailler moins;"
            "to eat more vegetables = de manger plus de légumes;"
            "to walk every day = de marcher tous les jours; to stop smoking = d'arrêter de fumer;"
            "to sleep more = de dormir plus"
        )
    )
    who = d.pick(pairs("the doctor told = le médecin a dit à; the nurse told = l'infirmière a dit à"))
    return line(who, s.text, a, AND, b, ".")


@template("health")
def healthy(d: Draw) -> P:
    """My friend Paul doesn't smoke anymore because he wants to stay healthy."""
    s = d.pick(PEOPLE)
    v, neg, rest = d.pick(
        [
            (verb("smoke = fumer"), "anymore", NOTHING),
            (verb("smoke = fumer"), "never", NOTHING),
            (verb("eat/ate = manger"), "", P("a lot of vegetables", "beaucoup de légumes")),
            (verb("sleep/slept = dormir"), "", P("eight hours a night", "huit heures par nuit")),
            (verb("walk = marcher"), "", P("an hour a day", "une heure par jour")),
        ]
    )
    want = say(s.pronoun, verb("want = vouloir"), "present", P("to stay healthy", "rester en bonne santé"))
    return line(say(s, v, "present", rest, neg=neg), BECAUSE, want, ".")


@template("health")
def good_for_health(d: Draw) -> P:
    """Too much sugar is bad for the teeth."""
    bad = pairs(
        "too much sugar = trop de sucre; smoking = fumer; too much salt = trop de sel;too much stress = trop de stress"
    )
    part = pairs(
        "the heart = le cœur; your health = la santé; the stomach = l'estomac; the skin = la peau;the teeth = les dents"
    )
    if d.chance():
        a, parts = d.pick([(bad[0], part), (bad[1], part), (bad[2], part[:3]), (bad[3], part[:4])])
        return line(P(f"{a.en} is bad for", f"{a.fr} est mauvais pour"), d.pick(parts), ".")
    a = d.pick(bad)
    b = d.pick(pairs("walking = marcher; sleeping well = bien dormir; eating vegetables = manger des légumes"))
    return line(
        P(f"{b.en} is good for", f"{b.fr} est bon pour"),
        d.pick(part[:3]),
        BUT,
        P(f"{a.en} is bad", f"{a.fr} est mauvais"),
        ".",
    )


@template("health")
def feels_better(d: Draw) -> P:
    """Emma feels much better than yesterday because she slept well."""
    s = d.pick(PEOPLE)
    well = d.chance()
    how = d.pick(
        pairs("better than yesterday = mieux que hier; much better = beaucoup mieux")
        if well
        else [VERY + agree(state, s.gender, s.plural) for state in (STATES[1], STATES[3])]
    )
    time = (
        NOTHING if "yesterday" in how.en else d.pick([NOTHING, *pairs("this morning = ce matin; today = aujourd'hui")])
    )
    reason = say(s.pronoun, SLEEP, "past", P("well", ""), neg="" if well else "not", adverb=P("", "bien"))
    # The English adverb follows the verb while the French one precedes the participle, hence the two half-empty pairs.
    return line(say(s, FEEL, "present", how), time, BECAUSE, reason, ".")


@template("health")
def if_fever(d: Draw) -> P:
    """If you have a fever, stay in bed and call the doctor."""
    a, b = d.two(
        pairs(
            "stay in bed = restez au lit; call the doctor = appelez le médecin;"
            "sleep more = dormez plus; take this medicine = prenez ce médicament;"
            "rest at home = reposez-vous à la maison; drink a lot of water = buvez beaucoup d'eau;"
            "eat some soup = mangez de la soupe"
        )
    )
    return line(P("if you have", "si vous avez"), d.pick(ILLS), ",", a, AND, b, ".")


@template("health")
def hospital(d: Draw) -> P:
    """Antoine is going to spend two nights in the hospital because the doctor is going to operate on his knee."""
    s, n = d.pick(ONE_PERSON), d.pick(NUMBERS[:5])
    part = d.pick(pairs("knee = du genou; shoulder = de l'épaule; back = du dos; hand = de la main; foot = du pied"))
    mine = "her" if s.gender == "f" else "his"
    return line(
        say(
            s, verb("spend/spent = passer"), "future", P(f"{n.en} nights in the hospital", f"{n.fr} nuits à l'hôpital")
        ),
        BECAUSE,
        P(f"the doctor is going to operate on {mine} {part.en}", f"le médecin va l'opérer {part.fr}"),
        ".",
    )


# --- work ------------------------------------------------------------------------------------------------------------

JOBS = nouns(
    "lawyer = avocat m; journalist = journaliste m; architect = architecte m;"
    "accountant = comptable m; photographer = photographe m;"
    "translator = traducteur m; salesperson/salespeople = vendeur m; musician = musicien m;"
    "engineer = ingénieur m; secretary = secrétaire m"
)
FEMALE_JOBS = {
    "avocat": "avocate",
    "traducteur": "traductrice",
    "vendeur": "vendeuse",
    "musicien": "musicienne",
    "ingénieur": "ingénieure",
}
DOCUMENTS = nouns(
    "report = rapport m; contract = contrat m; letter = lettre f; translation = traduction f;"
    "article = article m; presentation = présentation f;"
    "project = projet m; invoice = facture f"
)
DEADLINES = pairs(
    "before Friday = avant vendredi; before noon = avant midi; tomorrow morning = demain matin;"
    "this afternoon = cet après-midi; next week = la semaine prochaine"
)
HANDLE = [
    verb("read/read = lire"),
    verb("check = vérifier"),
    verb("print = imprimer"),
    verb("send/sent = envoyer"),
    verb("translate = traduire"),
    verb("finish = finir"),
]
OFFICE_JOBS = [JOBS[0], JOBS[2], JOBS[3], *JOBS[5:7], *JOBS[8:]]
COMPANIES = pairs(
    "in a big bank = dans une grande banque; in a small company = dans une petite entreprise;"
    "in a new company = dans une nouvelle entreprise;"
    "in a big office = dans un grand bureau"
)
BOSSES = pairs(
    "the boss = le patron; our boss = notre patron; the director = le directeur;"
    "my colleague = mon collègue; our colleague = notre collègue"
)
BOSS = [Subject(p.en, p.fr, 2, "m") for p in BOSSES]
CLIENTS = pairs(
    "the clients = les clients; the director = le directeur; the accountant = le comptable;"
    "the new clients = les nouveaux clients; the lawyer = l'avocat"
)
WORK = verb("work = travailler")


def handled(d: Draw, verbs: Sequence[Verb]) -> tuple[Verb, Noun]:
    """Something to do with a document; nobody translates a translation."""
    v = d.pick(verbs)
    return v, d.pick([doc for doc in DOCUMENTS if doc.en != "translation"] if v.en == "translate" else DOCUMENTS)


def job(n: Noun, s: Subject) -> P:
    """The name of a profession after *be*: an article in English only, agreement in French."""
    fr = FEMALE_JOBS.get(n.fr, n.fr) if s.gender == "f" else n.fr
    return P(f"a {n.en}", fr)


@template("work")
def works_as(d: Draw) -> P:
    """Julie works as a lawyer in a small company in Lyon."""
    s = d.pick(ONE)
    return line(
        say(s, WORK, "present", P("as", "comme") + job(d.pick(OFFICE_JOBS), s)),
        d.pick(COMPANIES[:3]),
        d.pick(CITY_PLACES),
        ".",
    )


@template("work")
def become(d: Draw) -> P:
    """Paul is an architect, but he would like to become a journalist."""
    s, (a, b) = d.pick(ONE), d.two(JOBS)
    p = s.pronoun
    return line(
        is_(s, job(a, s)),
        BUT,
        P(f"{p.en} would like to become", f"{p.fr} {CONDITIONAL[p.person]} devenir"),
        job(b, s),
        ".",
    )


@template("work")
def meeting(d: Draw) -> P:
    """We have a meeting with the new clients on Monday morning."""
    s, who, day = d.pick(PEOPLE), d.pick(CLIENTS), d.pick(DAYS[:5])
    part = d.pick(pairs("morning = matin; afternoon = après-midi"))
    neg = d.pick(("", "", "not"))
    what = P("a meeting with", "de réunion avec" if neg else "une réunion avec")
    return line(say(s, AVOIR, "present", what + who, neg=neg), P(f"on {day.en} {part.en}", f"{day.fr} {part.fr}"), ".")


@template("work")
def must_finish(d: Draw) -> P:
    """I have to finish this report before Friday."""
    s, (v, doc) = d.pick(PEOPLE), handled(d, HANDLE)
    have = verb("have/had to = devoir")
    what = np(doc, d.pick(["this", "the"]), *([NEW] if d.chance() else []))
    return line(say(s, have, "present", P(v.en, v.inf) + what), d.pick(DEADLINES), ".")


@template("work")
def read_and_sent(d: Draw) -> P:
    """The boss read the report and sent it to the clients."""
    s, (v, doc), whom = d.pick(BOSS + NAMES), handled(d, HANDLE[:3] + HANDLE[4:]), d.pick(CLIENTS)
    n = (doc.gender, False)
    if whom.en == s.en:
        whom = CLIENTS[0]
    return line(
        say(s, v, "past", np(doc, "the")),
        AND,
        say(s, HANDLE[3], "past", P(f"it to {whom.en}", f"à {whom.fr}"), clitic=IT[n], agreement=n, subject=False),
        ".",
    )


@template("work")
def could_you_send(d: Draw) -> P:
    """Could you send me the contract before noon, please?"""
    v, doc = handled(d, [*HANDLE, verb("sign = signer")])
    what = np(doc, d.pick(["this", "the"]))
    me = "me" if v.en == "send" else ""
    return line(P(f"could you {v.en} {me}", f"pourriez-vous {me} {v.inf}"), what, d.pick(DEADLINES), PLEASE, "?")


@template("work")
def earns(d: Draw) -> P:
    """She earns 2500 euros a month in a big bank."""
    s, n = d.pick(THIRD + PRONOUNS[:1]), d.pick((1800, 2000, 2500, 3000, 3500))
    return line(
        say(s, verb("earn = gagner"), "present", P(f"{n} euros a month", f"{n} euros par mois")),
        d.pick(COMPANIES[:3]),
        ".",
    )


@template("work")
def colleague_is(d: Draw) -> P:
    """Our new boss is more patient than the former one."""
    a, b = d.two(
        nouns(
            "boss = patron m; director = directeur m; colleague = collègue m; assistant = assistant m;"
            "accountant = comptable m"
        )
    )
    s_owner = d.pick([WE, I, YOU])
    s = person(a, s_owner, NEW)
    quality = d.pick(
        adjs(
            "patient = patient; serious = sérieux; efficient = efficace;"
            "friendly/friendlier = sympathique; strict/stricter = strict"
        )
    )
    other = d.pick([P("the former one", "l'ancien"), np(b, s_owner)])
    return line(is_(s, more(quality, "m", False)), THAN, other, ".")


@template("work")
def lost_job(d: Draw) -> P:
    """Antoine lost his job last month and is looking for work in Paris."""
    s = d.pick(PEOPLE)
    job_noun = noun("job = emploi m")
    v = d.pick([verb("lose/lost = perdre"), verb("leave/left = quitter")])
    look = say(s, verb("look for = chercher"), "progressive", P("work", "du travail"), subject=False)
    # Dropping the subject leaves a contraction behind ("I'm", "he's"): spell the auxiliary out.
    en = {0: "am", 2: "is"}.get(s.person, "are") + " looking for work"
    return line(
        say(s, v, "past", np(job_noun, s)), d.pick(LONG_AGO[1:3]), AND, look._replace(en=en), d.pick(CITY_PLACES), "."
    )


@template("work")
def work_question(d: Draw) -> P:
    """Why did you leave your job?"""
    s = d.pick([YOU, *THIRD])
    kind = d.pick(("leave", "where", "like", "since"))
    if kind == "leave":
        wh = d.pick(pairs("why = pourquoi; when = quand"))
        return ask(s, verb("leave/left = quitter"), "past", np(noun("job = emploi m"), s), wh=wh)
    if kind == "where":
        return ask(s, WORK, "present", P("now", "maintenant"), wh=P("where", "où"))
    if kind == "like":
        return ask(s, verb("like = aimer"), "present", np(noun("job = travail m"), s, NEW))
    return ask(s, WORK, "present", P("with", "avec") + d.pick(CLIENTS) + P("every day", "tous les jours"))


@template("work")
def who_signed(d: Draw) -> P:
    """Who signed the contract that Claire sent to the clients?"""
    v, doc, s, whom = d.pick([verb("sign = signer"), *HANDLE[:3]]), d.pick(DOCUMENTS), d.pick(PEOPLE), d.pick(CLIENTS)
    n = (doc.gender, False)
    return line(
        P(f"who {v.past}", f"qui a {v.participle}"),
        np(doc, "the"),
        P("that", "que"),
        say(s, HANDLE[3], "past", P(f"to {whom.en}", f"à {whom.fr}"), agreement=n),
        "?",
    )


@template("work")
def never_late(d: Draw) -> P:
    """The accountant who works with Claire never answers the phone."""
    who, s = d.pick(OFFICE_JOBS), d.pick(NAMES)
    rest = d.pick(
        pairs(
            "never answers the phone = ne répond jamais au téléphone;"
            "speaks three languages = parle trois langues;"
            "often works late = travaille souvent tard; is looking for a new job = cherche un nouvel emploi;"
            "is on vacation this week = est en vacances cette semaine"
        )
    )
    return line(np(who, "the"), P(f"who works with {s.en}", f"qui travaille avec {s.fr}"), rest, ".")


@template("work")
def from_home(d: Draw) -> P:
    """On Fridays, Thomas works from home because his office is too far."""
    s, day = d.pick(PEOPLE), d.pick(MONDAYS[:5])
    office = np(noun("office = bureau m"), s.pronoun)
    why = d.pick(pairs("is too far = est trop loin; is too noisy = est trop bruyant; is too cold = est trop froid"))
    return line(day, ",", say(s, WORK, "present", P("from home", "à la maison")), BECAUSE, office, why, ".")


@template("work")
def machine_broken(d: Draw) -> P:
    """When the printer doesn't work, we call the technician."""
    s = d.pick(PEOPLE)
    machine = d.pick(
        pairs("the printer = l'imprimante; the computer = l'ordinateur; the office phone = le téléphone du bureau")
    )
    act = d.pick(
        [
            (verb("call = appeler"), P("the technician", "le technicien")),
            (verb("call = appeler"), P("the director", "le directeur")),
            (verb("write/wrote = écrire"), P("to the technician", "au technicien")),
        ]
    )
    return line(
        WHEN,
        P(f"{machine.en} doesn't work", f"{machine.fr} ne marche pas"),
        ",",
        say(s, act[0], "present", act[1]),
        ".",
    )


@template("work")
def hire(d: Draw) -> P:
    """The company is going to hire three engineers next month."""
    who = d.pick(pairs("the company = l'entreprise; our company = notre entreprise; the bank = la banque"))
    n, j = d.pick(NUMBERS[:5]), d.pick(OFFICE_JOBS)
    return line(P(f"{who.en} is going to hire", f"{who.fr} va embaucher"), np(j, n), d.pick(LATER), ".")


# --- directions ------------------------------------------------------------------------------------------------------

TOWN = nouns(
    "bank = banque f; post office = poste f; station = gare f; library = bibliothèque f;"
    "church = église f; town hall = mairie f; school = école f;"
    "hospital = hôpital m; police station = commissariat m; park = parc m; museum = musée m;"
    "swimming pool = piscine f; movie theater = cinéma m;"
    "theater = théâtre m; university = université f; stadium = stade m; pharmacy = pharmacie f;"
    "castle = château m; hotel = hôtel m"
)
TURN = pairs("turn left = tournez à gauche; turn right = tournez à droite")
SIDES = pairs("left = gauche; right = droite")
ORDINALS = pairs("first = première; second = deuxième; third = troisième; fourth = quatrième")
CORNERS = pairs(
    "at the traffic light = au feu; after the bridge = après le pont;"
    "at the end of the street = au bout de la rue; at the corner = au coin de la rue;"
    "after the square = après la place"
)
NEAR = pairs(
    "next to = à côté de; opposite = en face de; behind = derrière; in front of = devant;"
    "near = près de; far from = loin de"
)


def some_place(d: Draw) -> P:
    """The bank."""
    return np(d.pick(TOWN), "the")


@template("directions")
def nearest(d: Draw) -> P:
    """Excuse me, where is the nearest bank, please?"""
    n = d.pick([*TOWN[:3], *TOWN[6:9], *TOWN[11:14], *TOWN[16:19]])
    start = d.pick(
        [
            P("excuse me, where is", "excusez-moi, où est"),
            P("where is", "où est"),
            P("could you show me", "pourriez-vous me montrer"),
            P("I'm looking for", "je cherche"),
            P("excuse me, I'm looking for", "excusez-moi, je cherche"),
        ]
    )
    mark = "." if "looking" in start.en else "?"
    polite = PLEASE if start.en.startswith("could") or (d.chance() and mark == "?") else NOTHING
    return line(
        start,
        P(f"the nearest {n.en}", f"{np(n, 'the').fr} {'la' if n.gender == 'f' else 'le'} plus proche"),
        polite,
        mark,
    )


@template("directions")
def turn(d: Draw) -> P:
    """Turn left at the traffic light and go straight ahead to the bank."""
    return line(
        d.pick(TURN), d.pick(CORNERS), P("and go straight ahead to", "et allez tout droit jusque à"), some_place(d), "."
    )


@template("directions")
def straight(d: Draw) -> P:
    """Go straight ahead to the library, then turn right after the bridge."""
    return line(
        P("go straight ahead to", "allez tout droit jusque à"),
        some_place(d),
        P(", then", ", puis"),
        d.pick(TURN),
        d.pick(CORNERS),
        ".",
    )


@template("directions")
def located(d: Draw) -> P:
    """The library is next to the town hall."""
    a, b = d.two(TOWN)
    return is_(person(a, "the"), d.pick(NEAR) + np(b, "the"), neg=d.pick((False, False, True))) + "."


@template("directions")
def between(d: Draw) -> P:
    """The bank is between the church and the castle."""
    a, b = d.two(TOWN)
    c = d.pick([n for n in TOWN if n not in (a, b)])
    return is_(person(a, "the"), P("between", "entre") + np(b, "the") + AND + np(c, "the")) + "."


@template("directions")
def is_there(d: Draw) -> P:
    """Is there a pharmacy near the station?"""
    a, b = d.two(TOWN)
    if d.chance():
        return line(
            P("is there", "est-ce qu'il y a"), np(a, "a"), d.pick([NEAR[0], NEAR[4], NEAR[1]]), np(b, "the"), "?"
        )
    return line(
        P("there is no", "il n'y a pas"), np(a, "bare-any"), d.pick([NEAR[0], NEAR[4], NEAR[1]]), np(b, "the"), "."
    )


@template("directions")
def how_to_get(d: Draw) -> P:
    """How do I get to the stadium from the station?"""
    a, b = d.two(TOWN)
    s = d.pick(
        [
            P("how do I get to", "comment est-ce que je vais à"),
            P("how do we get to", "comment est-ce que nous allons à"),
            P("which bus goes to", "quel bus va à"),
        ]
    )
    return line(s, np(a, "the"), P("from", "depuis"), np(b, "the"), "?")


@template("directions")
def take_street(d: Draw) -> P:
    """Take the second street on the right after the church."""
    nth, side = d.pick(ORDINALS), d.pick(SIDES)
    where = d.pick([NOTHING, P("after", "après") + some_place(d)])
    return line(P(f"take the {nth.en} street on the {side.en}", f"prenez la {nth.fr} rue à {side.fr}"), where, ".")


@template("directions")
def take_bus(d: Draw) -> P:
    """Take bus 12 to the university and walk to the theater."""
    n = d.pick((2, 4, 5, 8, 12, 15, 20))
    a, b = d.two(TOWN)
    return line(
        P(f"take bus {n} to", f"prenez le bus {n} jusque à"),
        np(a, "the"),
        P("and walk to", "et marchez jusque à"),
        np(b, "the"),
        ".",
    )


@template("directions")
def on_foot(d: Draw) -> P:
    """The museum is ten minutes on foot from the church."""
    a, b = d.two(TOWN)
    if d.chance():
        m = d.pick((100, 200, 300, 500))
        far = P(f"{m} meters from", f"à {m} mètres de")
    else:
        n = d.pick(MINUTES)
        far = P(f"{n.en} minutes on foot from", f"à {n.fr} minutes à pied de")
    return is_(person(a, "the"), far + np(b, "the")) + "."


@template("directions")
def lost(d: Draw) -> P:
    """Paul and Marie got lost near the station because they didn't have a map."""
    s = d.pick(PEOPLE)
    near = d.pick([NEAR[4], NEAR[2]])
    return line(
        say(s, verb("get/got lost = se perdre"), "past", near + some_place(d)),
        BECAUSE,
        say(s.pronoun, AVOIR, "state", P("a map", "de plan"), neg="not"),
        ".",
    )


@template("directions")
def cross(d: Draw) -> P:
    """Cross the square, go past the school and you will see the bank on your left."""
    a, b = d.two(TOWN)
    side = d.pick(SIDES)
    first = d.pick(
        pairs(
            "cross the square = traversez la place; cross the street = traversez la rue;"
            "cross the bridge = traversez le pont"
        )
    )
    return line(
        first,
        P(", go past", ", passez devant"),
        np(a, "the"),
        P("and you will see", "et vous verrez"),
        np(b, "the"),
        P(f"on your {side.en}", f"sur votre {side.fr}"),
        ".",
    )


@template("directions")
def do_not_turn(d: Draw) -> P:
    """Don't turn left at the traffic light, keep going straight to the park."""
    side = d.pick(SIDES)
    return line(
        P(f"don't turn {side.en}", f"ne tournez pas à {side.fr}"),
        d.pick(CORNERS),
        P(", keep going straight to", ", continuez tout droit jusque à"),
        some_place(d),
        ".",
    )


@template("directions")
def street_to(d: Draw) -> P:
    """The street that leads to the castle is on the left after the bank."""
    a, b = d.two(TOWN)
    side = d.pick(SIDES)
    return line(
        P("the street that leads to", "la rue qui mène à"),
        np(a, "the"),
        P(f"is on the {side.en} after", f"est à {side.fr} après"),
        np(b, "the"),
        ".",
    )


@template("directions")
def do_you_know(d: Draw) -> P:
    """Do you know if the museum is far from the station?"""
    a, b = d.two(TOWN)
    where = d.pick([NEAR[5], NEAR[4], NEAR[0], NEAR[2]])
    if d.chance():
        return line(P("do you know if", "est-ce que vous savez si"), is_(person(a, "the"), where + np(b, "the")), "?")
    return line(
        P("could you tell me if", "pourriez-vous me dire si"), is_(person(a, "the"), where + np(b, "the")), PLEASE, "?"
    )


@template("directions")
def when_you_get(d: Draw) -> P:
    """When you get to the church, cross the street and turn left."""
    then = d.pick(
        pairs(
            "cross the street = traversez la rue; cross the square = traversez la place;"
            "take the first street = prenez la première rue"
        )
    )
    return line(P("when you get to", "quand vous arrivez à"), some_place(d), ",", then, AND, d.pick(TURN), ".")


# --- sports ----------------------------------------------------------------------------------------------------------

GAMES = pairs("soccer = football; tennis; basketball = basket; volleyball = volley; rugby; golf; hockey; handball")
ACTIVITIES = pairs(
    "go swimming = de la natation; go skiing = du ski; go running = de la course à pied;"
    "go cycling = du vélo; go sailing = de la voile;"
    "go climbing = de l'escalade; do judo = du judo; do gymnastics = de la gymnastique; do karate = du karaté"
)
MOVES = [verb("swim/swam/swum = nager"), verb("run/ran/run = courir"), verb("ski = skier")]
PLAY = verb("play = jouer")
SCORES = pairs(
    "two to one = deux à un; three to one = trois à un; three to two = trois à deux;"
    "four to two = quatre à deux; one to nothing = un à zéro"
)
PLAYERS = [
    Subject(p.en, p.fr, 2, "m")
    for p in pairs("the young player = le jeune joueur; the new player = le nouveau joueur; the coach = l'entraîneur")
]
WIN, LOSE = verb("win/won = gagner"), verb("lose/lost = perdre")
CONTESTS = pairs(
    "the race = la course; the match = le match; the final = la finale;"
    "the tournament = le tournoi; the championship = le championnat"
)


def activity(spec: P) -> tuple[Verb, P]:
    """The verb and the object of *go swimming* / *faire de la natation*."""
    base, _, what = spec.en.partition(" ")
    past = {"go": "went/gone", "do": "did/done"}[base]
    return verb(f"{base}/{past} {what} = faire"), P("", spec.fr)


@template("sports")
def plays(d: Draw) -> P:
    """Paul plays soccer every Saturday with my friend Julie."""
    s, game = d.pick(PEOPLE), d.pick(GAMES)
    with_ = d.pick([P(f"with {x.en}", f"avec {x.fr}") for x in others(FRIENDS + NAMES, s)])
    return line(say(s, PLAY, "present", P(game.en, f"à le {game.fr}")), d.pick(EVERY_DAY), with_, ".")


@template("sports")
def does_judo(d: Draw) -> P:
    """Julie goes swimming every Wednesday."""
    s = d.pick(PEOPLE)
    v, what = activity(d.pick(ACTIVITIES))
    return line(say(s, v, d.pick(["present", "used"]), what), d.pick(EVERY_DAY), ".")


@template("sports")
def no_longer_plays(d: Draw) -> P:
    """Emma doesn't play tennis anymore because she prefers golf."""
    s, game = d.pick(PEOPLE), d.pick(GAMES)
    why = say(s.pronoun, verb("prefer/preferred = préférer"), "present", P("", ""))
    other = d.pick([g for g in GAMES if g != game])
    return line(
        say(s, PLAY, "present", P(game.en, f"à le {game.fr}"), neg="anymore"),
        BECAUSE,
        why,
        P(other.en, f"le {other.fr}"),
        ".",
    )


@template("sports")
def won_match(d: Draw) -> P:
    """Our team won the match against Lyon three to one yesterday."""
    team = d.pick(pairs("our team = notre équipe; your team = votre équipe; the school team = l'équipe de l'école"))
    s = Subject(team.en, team.fr, 2, "f")
    v, city = d.pick([WIN, LOSE]), d.pick(TEAMS)
    return line(
        say(s, v, "past", P(f"the match against {city.en}", f"le match contre {city.fr}") + d.pick(SCORES)),
        d.pick(PAST_TIMES),
        ".",
    )


@template("sports")
def runs_faster(d: Draw) -> P:
    """Claire runs faster than Thomas, but he swims better."""
    s, t, (v, w) = d.pick(WOMEN), d.pick(MEN), d.two(MOVES)
    a, b = (s, t) if d.chance() else (t, s)
    how = d.pick(pairs("faster than = plus vite que; better than = mieux que"))
    return line(say(a, v, "present", how + b.text), BUT, say(b.pronoun, w, "present", P("better", "mieux")), ".")


@template("sports")
def tiring(d: Draw) -> P:
    """Tennis is more tiring than golf."""
    a, b = d.two(GAMES)
    s = Subject(a.en, f"le {a.fr}", 2, "m")
    quality = d.pick(
        adjs(
            "tiring = fatigant; difficult = difficile; interesting = intéressant; popular = populaire;"
            "dangerous = dangereux"
        )
    )
    return line(is_(s, more(quality, "m", False), neg=d.pick((False, False, True))), THAN, P(b.en, f"le {b.fr}"), ".")


@template("sports")
def want_to_play(d: Draw) -> P:
    """Do you want to play tennis with us on Sunday?"""
    s, game, day = d.pick([YOU, *THIRD]), d.pick(GAMES), d.pick(DAYS)
    us = d.pick([P("with us", "avec nous"), P("with me", "avec moi")])
    return ask(
        s,
        verb("want = vouloir"),
        "present",
        P(f"to play {game.en}", f"jouer à le {game.fr}") + us + P(f"on {day.en}", day.fr),
    )


@template("sports")
def who_won(d: Draw) -> P:
    """Who won the tennis tournament last week?"""
    game = d.pick(GAMES)
    what = d.pick(
        [
            P(f"the {game.en} match", f"le match de {game.fr}"),
            P(f"the {game.en} tournament", f"le tournoi de {game.fr}"),
        ]
    )
    v = d.pick([WIN, LOSE])
    return line(P(f"who {v.past}", f"qui a {v.participle}"), what, d.pick(PAST_TIMES), "?")


@template("sports")
def scored(d: Draw) -> P:
    """The young player scored two goals in the second half against Lille."""
    s, n, city = d.pick(PLAYERS[:2] + NAMES), d.pick(NUMBERS[:3]), d.pick(TEAMS)
    half = d.pick(pairs("in the first half = en première mi-temps; in the second half = en deuxième mi-temps"))
    return (
        say(
            s,
            verb("score = marquer"),
            "past",
            P(f"{n.en} goals", f"{n.fr} buts") + half + P(f"against {city.en}", f"contre {city.fr}"),
        )
        + "."
    )


@template("sports")
def team_that_won(d: Draw) -> P:
    """The team that won the match is going to play against Lyon on Saturday."""
    v, city, day, what = (
        d.pick([WIN, LOSE]),
        d.pick(TEAMS),
        d.pick(DAYS),
        d.pick([CONTESTS[1], CONTESTS[3], CONTESTS[4]]),
    )
    return line(
        P(f"the team that {v.past}", f"l'équipe qui a {v.participle}"),
        what,
        P(f"is going to play against {city.en} on {day.en}", f"va jouer contre {city.fr} {day.fr}"),
        ".",
    )


@template("sports")
def trains(d: Draw) -> P:
    """Emma trains three times a week because she wants to win the race."""
    s, n = d.pick(PEOPLE), d.pick(NUMBERS[1:4])
    v = verb("train = s'entraîner")
    return line(
        say(s, v, "present", P(f"{n.en} times a week", f"{n.fr} fois par semaine")),
        BECAUSE,
        say(s.pronoun, verb("want = vouloir"), "present", P("to win", "gagner") + d.pick(CONTESTS)),
        ".",
    )


@template("sports")
def watched(d: Draw) -> P:
    """We watched the rugby match at the stadium last Saturday."""
    s, game = d.pick(PEOPLE), d.pick(GAMES)
    where = d.pick(pairs("at the stadium = au stade; on television = à la télévision"))
    tense, time = d.pick([("past", PAST_TIMES), ("future", FUTURE_TIMES)])
    return line(
        say(s, verb("watch = regarder"), tense, P(f"the {game.en} match", f"le match de {game.fr}") + where),
        d.pick(time),
        ".",
    )


@template("sports")
def learn_to(d: Draw) -> P:
    """Alice learned to ski two years ago, but she doesn't ski very fast."""
    s, v = d.pick(PEOPLE), d.pick(MOVES)
    return line(
        say(s, verb("learn = apprendre"), "past", P(f"to {v.en}", f"à {v.inf}")),
        d.pick(LONG_AGO[:4]),
        BUT,
        say(s.pronoun, v, "present", P("very fast", "très vite"), neg="not"),
        ".",
    )


@template("sports")
def coach(d: Draw) -> P:
    """The coach is happy because our team won the final."""
    s = d.pick([*PLAYERS, *NAMES])
    glad, v = d.pick([(adj("happy = content/contente"), WIN), (adj("sad = triste"), LOSE)])
    team = d.pick(pairs("our team = notre équipe; his team = son équipe; the school team = l'équipe de l'école"))
    if team.en == "his team" and s.gender == "f":
        team = P("her team", "son équipe")
    t = Subject(team.en, team.fr, 2, "f")
    return line(is_(s, agree(glad, s.gender, False)), BECAUSE, say(t, v, "past", d.pick(CONTESTS)), ".")


@template("sports")
def pass_the_ball(d: Draw) -> P:
    """Pass the ball to Paul and run faster!"""
    s = d.pick([*NAMES, *PLAYERS[:2]])
    a = d.pick(
        pairs(
            "pass the ball to = passez le ballon à; throw the ball to = lancez le ballon à;"
            "give the ball to = donnez le ballon à"
        )
    )
    b = d.pick(
        pairs(
            "run faster = courez plus vite; run to the goal = courez vers le but;"
            "watch the other players = regardez les autres joueurs"
        )
    )
    return line(a, s.text, AND, b, "!")


@template("sports")
def finished(d: Draw) -> P:
    """Alice finished third in the 100 meters last week."""
    s = d.pick(ONE_PERSON)
    nth = d.pick(pairs("second = deuxième; third = troisième; fourth = quatrième"))
    race = d.pick(
        pairs(
            "in the race = de la course; in the 100 meters = du 100 mètres;"
            "in the 200 meters = du 200 mètres; in the championship = du championnat"
        )
    )
    return line(say(s, verb("finish = finir"), "past", nth + race), d.pick(PAST_TIMES), ".")


@template("sports")
def was_a_child(d: Draw) -> P:
    """When Paul was young, he used to play basketball every Wednesday."""
    s, game = d.pick(PEOPLE), d.pick(GAMES)
    return line(
        WHEN,
        is_(s, agree(YOUNG, s.gender, s.plural), past=True),
        ",",
        say(s.pronoun, PLAY, "used", P(game.en, f"à le {game.fr}")),
        d.pick(EVERY_DAY),
        ".",
    )
