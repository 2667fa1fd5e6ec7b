"""Words of the demo: a company that sells household goods, its staff, its customers and their phrases."""

from typing import Final

COMPANY: Final = "Lindqvist Home"

PRODUCTS: Final = (
    "Aurora hub",
    "Tern thermostat",
    "Moss air sensor",
    "Kelp robot vacuum",
    "Fjord doorbell",
    "Ember radiator valve",
    "Heron floor lamp",
    "Sable smart lock",
    "Puffin night light",
    "Brook water leak sensor",
)
CITIES: Final = {
    "Gdańsk": "Poland",
    "Lyon": "France",
    "Leeds": "Great Britain",
    "Porto": "Portugal",
    "Malmö": "Sweden",
    "Boise": "the USA",
    "Kraków": "Poland",
    "Ghent": "Belgium",
    "Wellington": "New Zealand",
    "Zürich": "Switzerland",
    "Osaka": "Japan",
}
CARRIERS: Final = ("DHL", "UPS", "PostNord", "DPD", "Royal Mail")
CUSTOMERS: Final = (
    "Amara Okafor",
    "Bjørn Aas",
    "Chloé Martin",
    "Dmitri Volkov",
    "Elif Şahin",
    "Freya Hughes",
    "Giulia Conti",
    "Hiro Tanaka",
    "Inés Ortega",
    "Jonas Weber",
    "Katarzyna Nowak",
    "Liam O'Brien",
    "Mei Lin",
    "Nia Roberts",
    "Olu Adeyemi",
    "Priya Raman",
)
TIERS: Final = ("basic", "basic", "basic", "plus", "plus", "family")
REASONS: Final = (
    "it arrived with a cracked housing",
    "it is the wrong colour",
    "it keeps losing the connection",
    "I ordered two by mistake",
    "it is louder than I expected",
    "it doesn't fit where we wanted it",
)

GREETINGS: Final = ("", "", "", "Hi! ", "Hello! ", "Good morning. ", "Hey there! ", "Hi team. ")
SIGN_OFFS: Final = (
    "",
    "",
    "",
    "",
    " Thanks!",
    " Thank you in advance.",
    " 🙏",
    " Cheers, {first_name}",
    " 😕",
    " Any help is welcome.",
)
OPENINGS: Final = (
    "Thanks for reaching out.",
    "Happy to help with that.",
    "I'm sorry for the trouble, {first_name}.",
    "Good question!",
    "I have looked into this for you.",
    "Thanks for your patience, {first_name}.",
    "Let me walk you through it.",
)
LEAD_INS: Final = (
    "",
    "",
    "OK. ",
    "Got it. ",
    "I see. ",
    "Understood! ",
    "One more question. ",
    "👍 ",
    "Thank you, {first_name} here again. ",
)
CLOSINGS: Final = (
    "",
    "Is there anything else I can do for you?",
    "Just reply here if it doesn't work out.",
    "I'll leave this conversation open for a day.",
    "Have a lovely day! ☀️",
    "Let me know how it goes.",
)
THANKS: Final = (
    ("That worked, thank you so much! 🎉", "Wonderful, I'm glad to hear it! Enjoy your {product}."),
    ("Perfect, thanks.", "You're welcome, {first_name}!"),
    ("Great, that is all I needed 👍", "My pleasure. We're here whenever you need us."),
    ("OK, I'll try that tonight.", "Sounds good. Your case number is {case_number}, just in case."),
    (
        "Hm, and can I talk to a person instead?",
        "Of course. I have handed {case_number} to a colleague, who calls you today.",
    ),
    ("Could you mail me a summary of this?", "Sent! It should be with you within five minutes. 📬"),
)
APOLOGY: Final = (
    "I'm sorry, I can't reach that system at the moment. I have noted your request as {case_number} and will "
    "come back to you as soon as it answers."
)

SYSTEM_PROMPTS: Final = {
    "2.1.0": f"You are the support assistant of {COMPANY}. Answer the question.",
    "2.2.0": f"You are the support assistant of {COMPANY}. Answer from the articles given.",
    "2.3.1": f"You are the support assistant of {COMPANY}. Answer from the articles given. Be friendly and complete.",
    "2.4.0": (
        f"You are the support assistant of {COMPANY}. Answer in the customer's language, in at most four sentences, "
        "only from the articles and tool results given. Say so when you don't know."
    ),
}
"""System prompts of the assistant, by the release that introduced each."""
PLANNER_PROMPT: Final = "Decide which steps answer the customer's last message. Reply with JSON only."
RERANKER_PROMPT: Final = "Order the passages by how well they answer the question. Reply with a JSON list of numbers."
POLICY_PROMPT: Final = "Does the refund policy allow this refund? Reply with JSON: allowed, rule, reason."
SUMMARY_PROMPT: Final = "Summarise the support ticket for the morning meeting: one line, then priority and mood."
JUDGE_PROMPTS: Final = {
    "2.1.0": "Is the answer helpful? Reply with JSON.",
    "2.3.1": "Grade how helpful the answer is, from 1 to 5, and say why in one sentence. Reply with JSON.",
}
"""System prompts of the judge model, by the release that introduced each."""

REGIONS: Final = ("eu-central-1", "eu-central-1", "eu-central-1", "us-east-1", "us-east-1", "ap-southeast-2")
SERVICE_USERS: Final = {"eu-central-1": "assistant-eu", "us-east-1": "assistant-us", "ap-southeast-2": "assistant-ap"}
DEVELOPERS: Final = ("mara.lind", "tomasz.k", "yuki.sato")
CLIENT: Final = {
    "client_version": "0.52.10",
    "source": "python-sdk",
    "sys_version": "3.12.7 (main, Oct  1 2025, 11:15:50) [GCC 13.2.0]",
    "os_name": "Linux",
    "os_version": "#1 SMP Debian 6.1.115-1",
    "os_release": "6.1.0-27-cloud-amd64",
}
