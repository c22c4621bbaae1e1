"""Words and word forms of the demo corpus: a small English-French lexicon with agreement, elision and conjugation.

Everything a template needs is built from `P`, a pair of an English and a French string, so that both sides of a
sentence are always assembled by the same code from the same choices.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_VOWELS = "aeiouàâäéèêëîïôöùûüœæ"
# Words that begin with a written vowel or h but do not trigger elision ("le haricot", "le onze mars").
NO_ELISION = ("haricot", "hockey", "handball", "huit", "haut", "homard", "onze", "onzième")
_NO_ELISION_ALT = "|".join(NO_ELISION)
_VOWEL_AHEAD = rf"(?!(?:{_NO_ELISION_ALT}))(?=[{_VOWELS}h]|y\b)"
_ELIDE = re.compile(rf"\b(je|ne|de|le|la|que|me|se|ce|jusque) +{_VOWEL_AHEAD}", re.IGNORECASE)
_AN = re.compile(r"\b([Aa]) (?=[aeiou]|hour)(?!uni|one|euro)")


class P(NamedTuple):
    """A piece of text in English and in French; `+` joins pieces with a space on both sides."""

    en: str
    fr: str

    def __add__(self, other: object) -> P:
        """Append another pair, or a string that is the same in both languages."""
        if isinstance(other, P):
            return P(f"{self.en} {other.en}", f"{self.fr} {other.fr}")
        return P(f"{self.en} {other}", f"{self.fr} {other}")

    def __radd__(self, other: str) -> P:
        """Prepend a string that is the same in both languages."""
        return P(f"{other} {self.en}", f"{other} {self.fr}")


def line(*parts: P | str) -> P:
    """Join pieces with spaces; a string stands for the same text in both languages."""
    out = P("", "")
    for part in parts:
        out += part
    return out


def pairs(spec: str) -> list[P]:
    """Read ``english = french`` entries separated by semicolons; one form alone serves both languages."""
    out = []
    for entry in spec.split(";"):
        en, _, fr = (part.strip() for part in entry.partition("="))
        out.append(P(en, fr or en))
    return out


def vowel(word: str) -> bool:
    """Whether a French word triggers elision and the prevocalic forms (cet, bel, mon amie)."""
    return re.match(_VOWEL_AHEAD, word, re.IGNORECASE) is not None


def finish(piece: P) -> P:
    """Apply elision, contractions, a/an, punctuation spacing and the initial capital to a whole sentence."""
    fr = " ".join(piece.fr.split())
    fr = _ELIDE.sub(lambda m: m.group(1)[:-1] + "'", fr)
    fr = re.sub(r"\b([Ss])i (ils?)\b", r"\1'\2", fr)
    # Contractions come after elision: "de le hôtel" has to end as "de l'hôtel", not as "du hôtel".
    for preposition, le, les in (("à", "au", "aux"), ("de", "du", "des")):
        fr = re.sub(rf"\b{preposition} le\b", le, fr)
        fr = re.sub(rf"\b{preposition} les\b", les, fr)
    fr = re.sub(r" +([.,])", r"\1", fr)
    en = re.sub(r" +([.,?!])", r"\1", " ".join(piece.en.split()))
    en = _AN.sub(r"\1n ", en).replace(" 's ", "'s ")
    return P(en[0].upper() + en[1:], fr[0].upper() + fr[1:])


# --- Nouns and adjectives --------------------------------------------------------------------------------------------


class Noun(NamedTuple):
    """A noun with both plurals, its French gender, and whether it is used in the plural."""

    en: str
    en_plural: str
    fr: str
    fr_plural: str
    gender: str
    plural: bool = False

    @property
    def many(self) -> Noun:
        """The same noun, used in the plural."""
        return self._replace(plural=True)


class Adj(NamedTuple):
    """An adjective: English positive and comparative, French forms, and whether it precedes the French noun."""

    en: str
    en_more: str
    forms: tuple[str, str, str, str]  # m sg, f sg, m pl, f pl
    before_vowel: str
    before_noun: bool


def _en_plural(word: str) -> str:
    if re.search(r"(s|sh|ch|x)$", word):
        return word + "es"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"


def _fr_plural(word: str) -> str:
    if word[-1] in "sxz":
        return word
    if word.endswith(("eau", "eu")) and word != "bleu":
        return word + "x"
    return word[:-2] + "aux" if word.endswith("al") else word + "s"


def noun(spec: str) -> Noun:
    """Read ``english[/plural] = french[/plural] gender``."""
    en, fr = (part.strip() for part in spec.split("="))
    fr, gender = fr.rsplit(" ", 1)
    en, _, en_plural = en.partition("/")
    fr, _, fr_plural = fr.partition("/")
    return Noun(en, en_plural or _en_plural(en), fr, fr_plural or _fr_plural(fr), gender)


def nouns(spec: str) -> list[Noun]:
    """Read several nouns; a ``+`` in front of an entry marks a noun that is used in the plural."""
    out = []
    for entry in spec.split(";"):
        entry = entry.strip()
        out.append(noun(entry[1:]).many if entry.startswith("+") else noun(entry))
    return out


def adj(spec: str) -> Adj:
    """Read ``english[/comparative] = [<]masculine[/feminine[/prevocalic]]``; ``<`` marks a preposed adjective."""
    en, fr = (part.strip() for part in spec.split("="))
    en, _, more = en.partition("/")
    masc, fem, prevocalic = ([*fr.lstrip("<").split("/"), "", ""])[:3]
    if not fem:
        if masc.endswith("e") or masc == "marron":
            fem = masc
        elif masc.endswith("eux"):
            fem = masc[:-1] + "se"
        elif masc.endswith("er"):
            fem = masc[:-2] + "ère"
        elif masc.endswith(("en", "on")):
            fem = masc + "ne"
        else:
            fem = masc + "e"
    # "marron" is a noun used as a colour and never agrees.
    forms = (masc,) * 4 if masc == "marron" else (masc, fem, _fr_plural(masc), _fr_plural(fem))
    return Adj(en, more or f"more {en}", forms, prevocalic or masc, fr.startswith("<"))


def adjs(spec: str) -> list[Adj]:
    """Read several adjectives separated by semicolons."""
    return [adj(entry) for entry in spec.split(";")]


def agree(a: Adj, gender: str, plural: bool) -> P:
    """The adjective after a copula: English form and agreeing French form."""
    return P(a.en, a.forms[(gender == "f") + 2 * plural])


def more(a: Adj, gender: str, plural: bool) -> P:
    """The comparative: ``taller`` / ``plus grande``."""
    return P(a.en_more, "plus " + a.forms[(gender == "f") + 2 * plural])


def participle(word: str, gender: str, plural: bool) -> str:
    """The past participle in agreement with a gender and number."""
    word += "e" if gender == "f" else ""
    return word + "s" if plural and not word.endswith("s") else word


# --- People ----------------------------------------------------------------------------------------------------------


class Subject(NamedTuple):
    """A subject: texts, person (0 je, 2 il, 3 nous, 4 vous, 5 ils), gender, and its pronoun when it has another one."""

    en: str
    fr: str
    person: int
    gender: str
    pronoun_key: str = ""

    @property
    def plural(self) -> bool:
        """Grammatical number in French; the polite *vous* addresses one man throughout."""
        return self.person in (3, 5)

    @property
    def text(self) -> P:
        """Both texts as a pair."""
        return P(self.en, self.fr)

    @property
    def pronoun(self) -> Subject:
        """The subject pronoun that takes this subject up again."""
        if self.person not in (2, 5):
            return self
        return {"2m": HE, "2f": SHE, "5m": THEY, "5f": THEY_F}[f"{self.person}{self.gender}"]

    @property
    def is_pronoun(self) -> bool:
        """Whether English contracts *be* with this subject."""
        return self.en in _BE_SHORT


I = Subject("I", "je", 0, "m")  # noqa: E741 - the English pronoun
HE = Subject("he", "il", 2, "m")
SHE = Subject("she", "elle", 2, "f")
WE = Subject("we", "nous", 3, "m")
YOU = Subject("you", "vous", 4, "m")
THEY = Subject("they", "ils", 5, "m")
THEY_F = Subject("they", "elles", 5, "f")
_BE_SHORT = {"I": "I'm", "he": "he's", "she": "she's", "we": "we're", "you": "you're", "they": "they're"}

PRONOUNS = [I, HE, SHE, WE, YOU, THEY]
MEN = [Subject(name, name, 2, "m") for name in ("Paul", "Lucas", "Thomas", "Antoine")]
WOMEN = [Subject(name, name, 2, "f") for name in ("Marie", "Julie", "Claire", "Alice", "Emma")]
NAMES = MEN + WOMEN
FRIENDS = [
    Subject(f"my friend {s.en}", f"mon {'amie' if s.gender == 'f' else 'ami'} {s.fr}", 2, s.gender)
    for s in (MEN[0], MEN[2], WOMEN[1], WOMEN[4])
]
COUPLES = [
    Subject(f"{a.en} and {b.en}", f"{a.fr} et {b.fr}", 5, "f" if a.gender == b.gender == "f" else "m")
    for a, b in ((MEN[0], WOMEN[0]), (MEN[1], MEN[2]), (WOMEN[3], WOMEN[2]), (WOMEN[1], MEN[3]), (WOMEN[4], WOMEN[0]))
]
ONE_PERSON = NAMES + FRIENDS
THIRD = NAMES + FRIENDS + COUPLES + [HE, SHE, THEY]
# Pronouns are listed twice because people use them more than any single name.
PEOPLE = PRONOUNS * 2 + NAMES + FRIENDS + COUPLES

_POSS_EN = {"I": "my", "we": "our", "you": "your"}
_POSS_FR = {
    0: ("mon", "ma", "mes"),
    2: ("son", "sa", "ses"),
    3: ("notre", "notre", "nos"),
    4: ("votre", "votre", "vos"),
    5: ("leur", "leur", "leurs"),
}


def possessive_en(s: Subject) -> str:
    """The English possessive determiner of an owner."""
    if s.person in (2, 5):
        return "their" if s.person == 5 else {"m": "his", "f": "her"}[s.gender]
    return _POSS_EN[s.en]


def np(n: Noun, det: str | P | Subject, *adjectives: Adj) -> P:
    """A noun phrase.

    Args:
        n: The noun; its number decides the number of the phrase unless ``det`` is a numeral.
        det: ``the``, ``a``, ``this``, ``some``, ``any`` (after a negation), ``bare`` (partitive without an English
            determiner), ``bare-any`` (the same after a negation), ``generic`` (``le`` without an English determiner),
            ``none`` (no determiner at all), an owner (possessive), or a numeral pair.
        adjectives: Adjectives in English order, at most one of them postposed in French.
    """
    plural = n.plural or isinstance(det, P)
    head = n.fr_plural if plural else n.fr
    before = [a for a in adjectives if a.before_noun]
    words: list[str] = []
    for i, a in enumerate(before):
        follows_vowel = vowel(before[i + 1].forms[0] if i + 1 < len(before) else head)
        prevocalic = n.gender == "m" and not plural and follows_vowel
        words.append(a.before_vowel if prevocalic else agree(a, n.gender, plural).fr)
    words.append(head)
    words += [agree(a, n.gender, plural).fr for a in adjectives if not a.before_noun]
    en = " ".join([a.en for a in adjectives] + [n.en_plural if plural else n.en])

    column = 2 if plural else int(n.gender == "f")
    article = ("le", "la", "les")[column]
    if isinstance(det, Subject):
        if column == 1 and vowel(words[0]):
            column = 0
        return P(f"{possessive_en(det)} {en}", " ".join([_POSS_FR[det.person][column], *words]))
    if isinstance(det, P):
        return P(f"{det.en} {en}", " ".join([det.fr, *words]))
    indefinite = ("de" if before else "des") if plural else ("un", "une")[column]
    if det == "this":
        ce = ("cet" if vowel(words[0]) else "ce", "cette", "ces")[column]
        return P(f"{'these' if plural else 'this'} {en}", " ".join([ce, *words]))
    en_det, fr_det = {
        "the": ("the", article),
        "a": ("" if plural else "a", indefinite),
        "some": ("some", indefinite if plural else f"de {article}"),
        "any": ("any", "de"),
        "bare": ("", indefinite if plural else f"de {article}"),
        "bare-any": ("", "de"),
        "generic": ("", article),
        "none": ("", ""),
    }[det]
    return P(f"{en_det} {en}".strip(), " ".join([fr_det, *words]).strip())


def person(n: Noun, det: str | Subject, *adjectives: Adj) -> Subject:
    """A noun phrase used as a subject."""
    text = np(n, det, *adjectives)
    return Subject(text.en, text.fr, 5 if n.plural else 2, n.gender)


# --- Verbs -----------------------------------------------------------------------------------------------------------


class Verb(NamedTuple):
    """A verb: English base, third person, past, past participle and -ing form; French forms by person."""

    en: str
    third: str
    past: str
    done: str
    ing: str
    inf: str
    present: tuple[str, ...]  # je, tu, il, nous, vous, ils
    participle: str
    etre: bool
    reflexive: bool
    agrees: bool  # False for "elle s'est cassé le bras": the participle follows the later object


# present of je, tu, il, nous, vous, ils; past participle
_IRREGULAR = {
    "être": "suis es est sommes êtes sont été",
    "avoir": "ai as a avons avez ont eu",
    "aller": "vais vas va allons allez vont allé",
    "faire": "fais fais fait faisons faites font fait",
    "prendre": "prends prends prend prenons prenez prennent pris",
    "apprendre": "apprends apprends apprend apprenons apprenez apprennent appris",
    "mettre": "mets mets met mettons mettez mettent mis",
    "boire": "bois bois boit buvons buvez boivent bu",
    "lire": "lis lis lit lisons lisez lisent lu",
    "écrire": "écris écris écrit écrivons écrivez écrivent écrit",
    "dire": "dis dis dit disons dites disent dit",
    "voir": "vois vois voit voyons voyez voient vu",
    "venir": "viens viens vient venons venez viennent venu",
    "partir": "pars pars part partons partez partent parti",
    "dormir": "dors dors dort dormons dormez dorment dormi",
    "sentir": "sens sens sent sentons sentez sentent senti",
    "vouloir": "veux veux veut voulons voulez veulent voulu",
    "pouvoir": "peux peux peut pouvons pouvez peuvent pu",
    "devoir": "dois dois doit devons devez doivent dû",
    "ouvrir": "ouvre ouvres ouvre ouvrons ouvrez ouvrent ouvert",
    "offrir": "offre offres offre offrons offrez offrent offert",
    "courir": "cours cours court courons courez courent couru",
    "traduire": "traduis traduis traduit traduisons traduisez traduisent traduit",
    "naître": "nais nais naît naissons naissez naissent né",
    "recevoir": "reçois reçois reçoit recevons recevez reçoivent reçu",
}
_WITH_ETRE = {"aller", "venir", "partir", "arriver", "rester", "tomber", "naître", "rentrer", "entrer"}
_DOUBLED = {"get": "getting", "run": "running", "swim": "swimming", "stop": "stopping", "put": "putting"}


def _present(inf: str) -> tuple[str, ...]:
    if inf in _IRREGULAR:
        return tuple(_IRREGULAR[inf].split()[:6])
    stem = inf[:-2]
    if inf.endswith("er"):
        nous = stem + ("eons" if stem.endswith("g") else "ons")
        if stem.endswith("c"):
            nous = stem[:-1] + "çons"
        closed = re.sub(r"[eé]([^aeiouéèy]+)$", r"è\1", stem) if re.search(r"[eé][bcdfglmnprstv]$", stem) else stem
        if stem.endswith("appel"):
            closed = stem + "l"
        if stem.endswith("y"):
            closed = stem[:-1] + "i"
        return (closed + "e", closed + "es", closed + "e", nous, stem + "ez", closed + "ent")
    if inf.endswith("ir"):
        return tuple(stem + end for end in ("is", "is", "it", "issons", "issez", "issent"))
    return tuple(stem + end for end in ("s", "s", "", "ons", "ez", "ent"))


def _past_participle(inf: str) -> str:
    if inf in _IRREGULAR:
        return _IRREGULAR[inf].split()[6]
    return inf[:-2] + {"er": "é", "ir": "i", "re": "u"}[inf[-2:]]


def verb(spec: str) -> Verb:
    """Read ``base[/past[/participle]] [particle] = [se] infinitive [rest]``; ``*`` marks a participle that is fixed."""
    en, fr = (part.strip() for part in spec.split("="))
    head, _, particle = en.partition(" ")
    base, past, done = ([*head.split("/"), "", ""])[:3]
    if not past:
        past = base + "d" if base.endswith("e") else base + "ed"
        if re.search(r"[^aeiou]y$", base):
            past = base[:-1] + "ied"
    ing = _DOUBLED.get(base) or (base[:-1] if base.endswith("e") and base != "be" else base) + "ing"
    third = {"have": "has", "go": "goes", "do": "does"}.get(base) or _en_plural(base)
    tail = f" {particle}" if particle else ""
    reflexive = fr.startswith(("se ", "s'"))
    inf = re.sub(r"^(se |s')", "", fr).rstrip("*")
    return Verb(
        en=base + tail,
        third=third + tail,
        past=past + tail,
        done=(done or past) + tail,
        ing=ing + tail,
        inf=inf,
        present=_present(inf),
        participle=_past_participle(inf),
        etre=reflexive or inf in _WITH_ETRE,
        reflexive=reflexive,
        agrees=not fr.endswith("*"),
    )


def imperfect(v: Verb, person: int) -> str:
    """The imparfait, built from the *nous* form."""
    stem = "ét" if v.inf == "être" else v.present[3][:-3]
    if v.inf.endswith(("ger", "cer")) and person in (3, 4):
        stem = v.inf[:-2]
    return stem + ("ais", "ais", "ait", "ions", "iez", "aient")[person]


REFLEXIVE = ("me", "te", "se", "nous", "vous", "se")
_NEGATION = {"": "", "not": "pas", "never": "jamais", "anymore": "plus"}
ALLER, AVOIR, ETRE = verb("go/went/gone = aller"), verb("have/had = avoir"), verb("be/was/been = être")


def be_en(s: Subject, past: bool = False, negative: bool = False) -> str:
    """English subject with *be*: pronouns contract in the present, and *not* contracts everywhere else."""
    if past:
        form = "were" if s.plural or s.person == 4 else "was"
    else:
        if s.is_pronoun and not (negative and s.person != 0):
            return _BE_SHORT[s.en] + (" not" if negative else "")
        form = "are" if s.plural or s.person == 4 else "is"
    return f"{s.en} {form}n't" if negative else f"{s.en} {form}"


def _fr_verb(s: Subject, v: Verb, tense: str, neg: str, adverb: str, clitic: str, agreement: tuple[str, bool]) -> str:
    ne, pas = ("ne", _NEGATION[neg]) if neg else ("", "")
    clitic = clitic or (REFLEXIVE[s.person] if v.reflexive else "")
    if tense == "future":
        return f"{ne} {ALLER.present[s.person]} {pas} {adverb} {clitic} {v.inf}"
    if tense in ("past", "perfect", "pluperfect"):
        aux = ETRE if v.etre else AVOIR
        conjugated = imperfect(aux, s.person) if tense == "pluperfect" else aux.present[s.person]
        gender, plural = (s.gender, s.plural) if v.etre and v.agrees else agreement
        return f"{ne} {clitic} {conjugated} {pas} {adverb} {participle(v.participle, gender, plural)}"
    form = imperfect(v, s.person) if tense in ("used", "state") else v.present[s.person]
    return f"{ne} {clitic} {form} {pas} {adverb}"


def _en_verb(s: Subject, v: Verb, tense: str, neg: str, adverb: str) -> str:
    """English subject and verb group, without the *anymore* that follows the object."""
    single = s.person == 2
    negative = neg in ("not", "anymore")
    if neg == "never":
        adverb = "never"
    if tense == "progressive":
        return f"{be_en(s, negative=negative)} {adverb} {v.ing}"
    if tense == "future":
        return f"{be_en(s, negative=negative)} {adverb} going to {v.en}"
    if tense == "used":
        return f"{s.en} {adverb} used to {v.en}"
    if tense == "perfect":
        return f"{s.en} {'has' if single else 'have'} {adverb} {v.done}"
    if tense == "pluperfect":
        return f"{s.en} had {adverb} {v.done}"
    if tense in ("past", "state"):
        return f"{s.en} didn't {adverb} {v.en}" if negative else f"{s.en} {adverb} {v.past}"
    if negative:
        return f"{s.en} {'doesn' if single else 'don'}'t {adverb} {v.en}"
    return f"{s.en} {adverb} {v.third if single else v.en}"


NOTHING = P("", "")


def say(
    s: Subject,
    v: Verb,
    tense: str,
    rest: P = NOTHING,
    *,
    neg: str = "",
    adverb: P = NOTHING,
    clitic: str = "",
    agreement: tuple[str, bool] = ("m", False),
    subject: bool = True,
) -> P:
    """A clause.

    Args:
        s: The subject.
        v: The verb.
        tense: ``present``, ``progressive`` (French présent), ``past`` (passé composé), ``perfect`` (the same in
            French), ``pluperfect``, ``future`` (futur proche), ``used`` and ``state`` (both imparfait).
        rest: What follows the verb.
        neg: ``not``, ``never``, ``anymore`` or nothing.
        adverb: An adverb that stands before the English verb and after the French finite verb.
        clitic: A French object pronoun; its English counterpart belongs to ``rest``.
        agreement: Gender and number of a preceding direct object, for participles with *avoir*.
        subject: False to leave the subject out, for the second verb of a coordination.
    """
    en = _en_verb(s, v, tense, neg, adverb.en)
    fr = _fr_verb(s, v, tense, neg, adverb.fr, clitic, agreement)
    if subject:
        fr = f"{s.fr} {fr}"
    else:
        en = en.removeprefix(s.en)
    return P(f"{en} {rest.en}{' anymore' if neg == 'anymore' else ''}", f"{fr} {rest.fr}")


def ask(s: Subject, v: Verb, tense: str, rest: P = NOTHING, *, wh: P = NOTHING) -> P:
    """A question with *est-ce que*, optionally after a question word."""
    are = {0: "am", 2: "is"}.get(s.person, "are")
    en = {
        "present": f"{'does' if s.person == 2 else 'do'} {s.en} {v.en}",
        "past": f"did {s.en} {v.en}",
        "future": f"{are} {s.en} going to {v.en}",
        "progressive": f"{are} {s.en} {v.ing}",
    }[tense]
    clause = f"{s.fr} {_fr_verb(s, v, tense, '', '', '', ('m', False))}"
    return P(f"{wh.en} {en} {rest.en}?", f"{wh.fr} est-ce que {clause} {rest.fr} ?")


def is_(s: Subject, rest: P, *, past: bool = False, neg: bool = False) -> P:
    """A clause with *be* / *être* (imparfait in the past)."""
    form = imperfect(ETRE, s.person) if past else ETRE.present[s.person]
    fr = f"{s.fr} ne {form} pas" if neg else f"{s.fr} {form}"
    return P(f"{be_en(s, past, neg)} {rest.en}", f"{fr} {rest.fr}")


def order(v: Verb, rest: P = NOTHING, *, neg: bool = False) -> P:
    """A polite imperative (*vous*)."""
    form = v.present[4]
    if neg:
        return P(f"don't {v.en} {rest.en}", f"ne {form} pas {rest.fr}")
    return P(f"{v.en} {rest.en}", f"{form}{'-vous' if v.reflexive else ''} {rest.fr}")


def to(v: Verb, s: Subject, rest: P = NOTHING) -> P:
    """The bare infinitives of both languages, the French reflexive pronoun agreeing with the subject."""
    clitic = REFLEXIVE[s.person] + " " if v.reflexive else ""
    return P(f"{v.en} {rest.en}", f"{clitic}{v.inf} {rest.fr}")


# --- Words shared by several topics ----------------------------------------------------------------------------------

AND, BUT, BECAUSE, WHEN, THAN = (
    P("and", "et"),
    P(", but", ", mais"),
    P("because", "parce que"),
    P("when", "quand"),
    P("than", "que"),
)
PLEASE = P(", please", ", s'il vous plaît")
IT = {("m", False): "le", ("f", False): "la", ("m", True): "les", ("f", True): "les"}

CITIES = pairs(
    "Paris; Lyon; Bordeaux; Lille; Marseille; Toulouse; Geneva = Genève; Brussels = Bruxelles; London = Londres;"
    "Rome; Berlin; Madrid; Lisbon = Lisbonne; Montreal = Montréal; Vienna = Vienne; Athens = Athènes; Amsterdam"
)
TEAMS = CITIES[:6]
DAYS = pairs(
    "Monday = lundi; Tuesday = mardi; Wednesday = mercredi; Thursday = jeudi; Friday = vendredi;"
    "Saturday = samedi;"
    "Sunday = dimanche"
)
MONTHS = pairs(
    "January = janvier; February = février; March = mars; April = avril; May = mai; June = juin; July = juillet;"
    "August = août; September = septembre; October = octobre; November = novembre; December = décembre"
)
NUMBERS = pairs(
    "two = deux; three = trois; four = quatre; five = cinq; six; seven = sept; eight = huit; nine = neuf; ten = dix"
)
SMALL = NUMBERS[:4]
HOURS = pairs(
    "one = une; two = deux; three = trois; four = quatre; five = cinq; six; seven = sept;"
    "eight = huit; nine = neuf;"
    "ten = dix; eleven = onze"
)
MINUTES = pairs("five = cinq; ten = dix; fifteen = quinze; twenty = vingt; thirty = trente")
DATES = (2, 3, 5, 6, 9, 12, 14, 15, 18, 20, 21, 25)
PAST_TIMES = pairs(
    "yesterday = hier; last night = hier soir; this morning = ce matin; last Monday = lundi dernier;"
    "last Saturday = samedi dernier; last week = la semaine dernière; on Thursday = jeudi"
)
FUTURE_TIMES = pairs(
    "tomorrow = demain; tomorrow morning = demain matin; tonight = ce soir; this weekend = ce week-end;"
    "next Friday = vendredi prochain; next week = la semaine prochaine; on Sunday = dimanche"
)
MONDAYS = [P(f"on {d.en}s", f"le {d.fr}") for d in DAYS]
EVERY_DAY = [P(f"every {d.en}", f"tous les {d.fr}s") for d in DAYS]


def hour(n: P) -> P:
    """An hour in words: ``seven`` / ``sept heures``."""
    return P(n.en, f"{n.fr} heure{'' if n.fr == 'une' else 's'}")


def clock_times() -> list[P]:
    """Times of day in words, without a preposition."""
    out = [P("noon", "midi"), P("midnight", "minuit")]
    for n in HOURS:
        fr = hour(n).fr
        out += [
            P(f"{n.en} o'clock", fr),
            P(f"half past {n.en}", f"{fr} et demie"),
            P(f"a quarter past {n.en}", f"{fr} et quart"),
            P(f"a quarter to {n.en}", f"{fr} moins le quart"),
        ]
    return out


CLOCK = clock_times()

BEAUTIFUL, NEW, OLD, BIG, SMALL_ADJ, PRETTY, GOOD, YOUNG, LONG = adjs(
    "beautiful/more beautiful = <beau/belle/bel; new/newer = <nouveau/nouvelle/nouvel;"
    "old/older = <vieux/vieille/vieil;"
    "big/bigger = <grand; small/smaller = <petit; pretty/prettier = <joli; good/better = <bon;"
    "young/younger = <jeune;"
    "long/longer = <long/longue"
)
RED, BLUE, GREEN, WHITE, BLACK, GRAY, YELLOW, BROWN = COLORS = adjs(
    "red = rouge; blue = bleu; green = vert; white = blanc/blanche; black = noir; gray = gris;"
    "yellow = jaune; brown = marron"
)
EXPENSIVE = adj("expensive = cher")
TOO, VERY = P("too", "trop"), P("very", "très")
