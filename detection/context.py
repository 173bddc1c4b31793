"""Words that say what a bare number is, in the languages our callers write.

A number of nine digits is nothing; after "SSN" it is a social security number. Folding has taken
the accents off (see `normalize.py`), so the words are written without them.
"""

from __future__ import annotations

from detection.engine import Pattern
from detection.normalize import fold


class Words:
    """Some words to look for round a candidate.

    ``source`` is also a gate: a document that has none of them anywhere need not be asked again.
    """

    __slots__ = ("occurs", "source")

    def __init__(self, *alternatives: str) -> None:
        self.source = _whole_words(alternatives)
        self.occurs = Pattern(self.source).occurs


def _whole_words(alternatives: tuple[str, ...]) -> str:
    """Return a pattern for whole words, in any case, also as parts of ``camelCase`` and ``a_b``.

    A space in a word stands for any of the ways to join words, or none.
    """
    forms = []
    for word in alternatives:
        parts = fold(word).split(" ")
        joined = "[ _.-]{0,2}".join(parts)
        if not word.isascii():
            forms.append(f"(?i:{joined})")  # many such scripts do not part their words
            continue
        starts = [rf"(?:\b|_)(?i:{joined})"]
        if len(word) > 2:  # two capitals within a name are too often nothing
            camel = "".join(part.capitalize() for part in parts)
            starts += [f"[a-z][a-z]{camel}", f"[a-z][a-z]{joined.upper()}"]
        forms.append(rf"(?:{'|'.join(starts)})(?:\b|[_0-9]|s\b|[A-Z][a-z])")
    return "|".join(forms)


SSN = Words(
    "ssn", "social security", "soc sec", "social sec", "socialsecurity", "ss no", "ss number",
    "ss num", "seguro social", "numero de seguro", "numero de securite sociale", "ssn4",
    "sozialversicherungsnummer", "社会保障", "社会安全",
)  # fmt: skip
TAXPAYER = Words(
    "itin", "taxpayer", "tax id", "tax identification", "tax number", "tax no", "tin", "irs",
    "w 7", "individual tax",
)  # fmt: skip
CARD = Words(
    "card", "cards", "card number", "cc", "ccn", "cc num", "cc number", "credit", "debit", "visa",
    "mastercard", "amex", "american express", "discover", "diners", "jcb", "maestro", "unionpay",
    "pan", "primary account number", "tarjeta", "carte", "carte bancaire", "karte", "kreditkarte",
    "kartennummer", "carta", "cartao", "creditcard", "payment", "カード", "信用卡", "卡号", "карта",
)  # fmt: skip
PHONE = Words(
    "phone", "phones", "telephone", "tel", "mobile", "cell", "cellphone", "cellular", "fax", "call",
    "dial", "whatsapp", "sms", "text me", "ring me", "reach me", "hotline", "landline", "handset",
    "msisdn", "phone number", "contact number", "contact no", "contact", "mob", "ph", "telefon",
    "telefono", "telefone", "telefoon", "telefonnummer", "telefonnr", "handy", "handynummer",
    "rufnummer", "mobil", "movil", "celular", "cellulare", "portable", "gsm", "mobiel",
    "mobilnummer", "numero de telefono", "numero de telephone", "puhelin", "puhelinnumero", "tlf",
    "tfno", "tlfn", "llamame", "appelez", "chiama", "ligue", "anrufen", "komorka", "nr tel",
    "telefonu", "cep telefonu", "電話", "电话", "手机", "携帯", "聯絡",
    "전화", "휴대폰", "телефон", "тел",
    "мобильный", "звоните", "τηλεφωνο", "هاتف", "जवाल", "फोन", "מספר טלפון", "טלפון", "โทร",
    "my number", "our number", "his number", "her number", "mi numero", "mon numero", "meu numero",
    "meine nummer", "mio numero", "moj numer",
    "phonenumber", "phoneno", "mobileno", "mobilenumber",
)  # fmt: skip
BIRTH = Words(
    "dob", "d o b", "birth", "birthdate", "birthday", "birth date", "born", "date of birth",
    "dateofbirth", "geburtsdatum", "geburtstag", "geboren", "geb", "geb am", "naissance", "ne le",
    "nee le", "nacimiento", "nacido", "nacida", "fecha nac", "fecha de nac", "nascita", "nato il",
    "nata il", "nascimento", "nascido", "nascida", "geboortedatum", "fodselsdato", "fodd",
    "fodelsedatum", "syntymaaika", "urodzenia", "urodzony", "urodzona", "dogum tarihi",
    "生年月日", "出生", "生日", "誕生日", "생년월일", "рождения", "родился", "родилась",
)  # fmt: skip
PASSPORT = Words(
    "passport", "passports", "passport no", "passport number", "passeport", "pasaporte",
    "reisepass", "reisepassnummer", "passnummer", "pass nr", "passaporto", "passaporte", "paspoort",
    "paspoortnummer", "paszport", "passnr", "pass no", "passi", "pasaport", "passportnumber",
    "护照", "護照", "パスポート", "旅券", "여권", "паспорт", "паспорта",
)  # fmt: skip
LICENCE = Words(
    "driver license", "drivers license", "driver s license", "driver's license",
    "driver licence", "drivers licence", "driver's licence", "driving licence", "driving license",
    "drivers lic", "driver lic", "dl no", "dl number", "dl num", "dln", "dl", "licence number",
    "license number", "driverslicense", "driverlicense", "drivinglicence", "dvla",
    "permis de conduire", "numero de permis", "fuhrerschein", "fuhrerscheinnummer",
    "licencia de conducir", "licencia de conduccion", "permiso de conducir", "carnet de conducir",
    "patente di guida", "patente", "carteira de motorista", "cnh", "carta de conducao",
    "rijbewijs", "rijbewijsnummer", "prawo jazdy", "prawa jazdy", "korkort", "forerkort",
    "ajokortti", "ehliyet", "运转免许", "運転免許", "驾驶证", "驾照", "운전면허",
    "водительское", "водительские",
)  # fmt: skip
ROUTING = Words(
    "routing", "aba", "rtn", "routing number", "routing no", "transit number", "bank routing",
    "routing transit", "aba number", "fedwire", "ach", "routingnumber",
)  # fmt: skip
HARDWARE_ADDRESS = Words("mac", "mac address", "hwaddr", "bssid", "ether", "lladdr", "macaddr")
NETWORK = Words(
    "ip", "ips", "ipv4", "addr", "address", "host", "client", "server", "from", "peer", "remote",
    "src", "dst", "source", "destination", "ping", "gateway", "dns", "nameserver", "subnet", "port",
    "proxy", "endpoint", "login", "connection", "adresse", "direccion", "indirizzo", "adres",
    "адрес", "地址", "アドレス",
)  # fmt: skip
AWS = Words("aws", "amazon", "secret access key", "secretaccesskey", "secret key", "aws secret")
TWILIO = Words("twilio")

# Words that say a number is something else, standing right before it.
NOT_A_CARD = Words(
    "imei", "isbn", "ean", "gtin", "upc", "barcode", "tracking", "awb", "iccid", "meid", "imsi",
    "timestamp", "epoch", "nonce", "snowflake", "tweet", "serial", "sku",
)  # fmt: skip
NOT_AN_ADDRESS = Words(
    "version", "versions", "ver", "rv", "release", "rev", "revision", "build", "firmware", "driver",
    "section", "chapter", "clause", "paragraph", "oid", "fw", "upgrade to", "upgraded to",
    "upgrade from", "upgraded from", "update to", "updated to", "updated from", "downgrade to",
    "bump", "bumped to", "sdk", "kernel", "agent version", "app version", "semver", "assembly",
    "fileversion", "productversion", "identifier",
)  # fmt: skip
NOT_A_PHONE = Words(
    "order", "invoice", "ticket", "tracking", "ref", "reference", "case", "account", "acct", "id",
    "isbn", "serial", "sku", "po", "version", "timestamp", "epoch", "amount", "total", "price",
    "zip", "date", "imei", "number of", "build", "batch", "part", "model", "usd", "eur",
    "bestellung", "commande", "pedido",
)  # fmt: skip

CARD_CODE = Words(
    "cvv", "cvv2", "cvc", "cvc2", "cav", "csc", "cid", "security code", "card code",
    "verification value", "card verification", "exp",
    "expiry", "expires", "expiration", "exp date", "exp month", "exp year", "expiry date",
    "expiry month", "expiry year", "expiration date", "expiration month", "expiration year",
    "valid thru", "valid until", "valid to", "good thru",
)  # fmt: skip
# Words over a list that say its numbers are of many things.
QUANTITY = Words(
    "count", "size", "dim", "dims", "dimension", "shape", "range", "bounds", "price", "cost",
    "amount", "total", "score", "point", "year", "port", "offset", "rgb", "color", "bin", "bucket",
    "stat", "metric", "histogram", "matrix", "vector", "column", "duration", "latency", "width",
    "height", "limit", "version", "coordinate", "weight", "percentile", "interval", "measurement",
    "reading", "quantity", "qty", "page", "resolution", "viewport", "epoch", "timestamp",
)  # fmt: skip

ALL = (
    SSN, TAXPAYER, CARD, PHONE, BIRTH, PASSPORT, LICENCE, ROUTING, HARDWARE_ADDRESS, NETWORK, AWS,
    TWILIO,    NOT_A_CARD, NOT_AN_ADDRESS, NOT_A_PHONE,
)  # fmt: skip
