"""Topics of customers' questions by area; the placeholders in braces are facts of a case."""

from dataclasses import dataclass
from typing import Final

from app.demo import vocabulary

Exchange = tuple[str, str]
"""A message of the customer and the assistant's answer."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A kind of request: openings and follow-ups with their answers, related articles, and tools it may need."""

    intent: str
    area: str
    exchanges: tuple[Exchange, ...]
    follow_ups: tuple[Exchange, ...]
    articles: tuple[str, ...]
    tools: tuple[str, ...] = ()
    language: str = "en"
    greetings: tuple[str, ...] = vocabulary.GREETINGS
    sign_offs: tuple[str, ...] = vocabulary.SIGN_OFFS
    lead_ins: tuple[str, ...] = vocabulary.LEAD_INS
    openings: tuple[str, ...] = vocabulary.OPENINGS
    closings: tuple[str, ...] = vocabulary.CLOSINGS
    thanks: tuple[Exchange, ...] = vocabulary.THANKS
    apology: str = vocabulary.APOLOGY


TOPICS: Final = (
    Topic(
        "track_order",
        "orders",
        (
            (
                "Where is my order {order}? It should have been here {days} days ago.",
                "Order {order} is with {carrier} in {city} now and should reach you within {days} days.",
            ),
            (
                "Tracking of {order} says 'label created' since last week. Has the {product} been sent at all?",
                "Your {product} went to {carrier} yesterday evening; their first scan in {city} is missing still.",
            ),
            (
                "Can you tell me when my {product} will arrive in {city}?",
                "{carrier} plans to deliver your {product} in {city} in {days} days, between 9:00 and 13:00.",
            ),
            (
                "{carrier} says that {order} was delivered, but nothing is here.",
                "{carrier} left it with a neighbour. If nobody has it, I can open an inquiry for {order}.",
            ),
            (
                "I paid for express and {order} still isn't here after {days} days!",
                "Express should take two days, so the surcharge for {order} goes back to you today.",
            ),
        ),
        (
            (
                "Can I have it sent to a pick-up point in {city} instead?",
                "Yes, until the parcel is out for delivery. I have asked {carrier} to change the address.",
            ),
            (
                "And who pays if it is lost?",
                "We do. After {days} more days we send a new {product} or refund {amount:.2f} €.",
            ),
            (
                "Is the box small enough for a mailbox?",
                "The {product} comes in a box of 24 x 18 x 9 cm, so probably not.",
            ),
            ("Could they ring the neighbour at number {days}?", "I have added that as a note for the driver."),
        ),
        ("Following a parcel", "Delivery times by country", "When a parcel is late", "Changing the delivery address"),
        ("order_status",),
    ),
    Topic(
        "return_item",
        "returns",
        (
            (
                "I would like to return my {product} because {reason}.",
                "You can return the {product} within 60 days. I have mailed you a code for {carrier}.",
            ),
            (
                "How do I send back order {order}? Sadly, {reason}.",
                "For {order} just show the QR code at any {carrier} shop. Keep the receipt until the refund is there.",
            ),
            (
                "My {product} is {days} days old and {reason}. Refund, please.",
                "That qualifies for a full refund of {amount:.2f} €. It goes back to the card that you paid with.",
            ),
            (
                "Do I have to pay for returning the {product}?",
                "Returns are free in {country}. Elsewhere we take 4.90 € off the refund.",
            ),
            (
                "I threw away the box of the {product}. Can I still return it?",
                "Yes. Any sturdy box will do; please wrap the {product} so that it can't move.",
            ),
        ),
        (
            (
                "How long until I see the {amount:.2f} €?",
                "Three to five working days once the parcel has reached us in {city}.",
            ),
            (
                "Can I swap it for the {other_product} instead?",
                "Gladly. The {other_product} costs 12 € more; I can set up the exchange.",
            ),
            ("Does the refund include shipping?", "If it was our fault, yes, all of it. Otherwise the standard rate."),
            ("I paid half of it with a gift card.", "Then half goes to the card and half to a new gift card code."),
        ),
        ("Returning a product", "How refunds are paid", "Exchanges", "Damaged on arrival"),
        ("order_status", "refund"),
    ),
    Topic(
        "explain_invoice",
        "billing",
        (
            (
                "Why was I charged {amount:.2f} € this month? I am on the {tier} plan.",
                "The {amount:.2f} € are the {tier} plan plus video storage for one more {product}.",
            ),
            (
                "There are two charges of {amount:.2f} € on my card. Which one is wrong?",
                "One of them is only a reservation that your bank releases within {days} days. You pay once.",
            ),
            (
                "I need an invoice with our VAT number for order {order}.",
                "The invoice of {order} now carries your VAT number; you find it under Account, Documents.",
            ),
            (
                "My card expired. Where do I change the payment method?",
                "Open Account, Payment and add the new card. The {tier} plan goes on without a break.",
            ),
            (
                "The voucher from the newsletter wasn't taken off {order}.",
                "You're right. I have applied it now and {amount:.2f} € are on their way back.",
            ),
        ),
        (
            ("Can I pay yearly?", "Yes, and you save two months. The change takes effect at the next billing date."),
            ("Do you take bank transfer?", "For orders above 200 €, yes. The plan itself needs a card or PayPal."),
            ("Could you send past invoices, too?", "All of them since 2022 are under Account, Documents, as one ZIP."),
        ),
        ("Reading your invoice", "Payment methods", "VAT and business customers", "Double charges"),
        ("billing_history",),
    ),
    Topic(
        "connect_device",
        "devices",
        (
            (
                "My {product} won't connect to the Wi-Fi. The light blinks {days} times and then stops.",
                "{days} blinks mean that the password was refused. The {product} needs a 2.4 GHz network at first.",
            ),
            (
                "How do I reset the {product}?",
                "Hold the button for ten seconds until the ring turns white, then add the {product} in the app again.",
            ),
            (
                "Since the update last night the {product} is offline every few hours.",
                "Version 4.{days}.1 fails in mesh networks. I have put your {product} on 4.{days}.2, which mends it.",
            ),
            (
                "Does the {product} work with the {other_product}?",
                "Yes. Pair both, then make a routine: when the {product} changes, switch the {other_product}.",
            ),
            (
                "The app finds no {product}, although it is right beside my phone.",
                "Please allow 'nearby devices' for the app. On iOS it is under Privacy, Bluetooth.",
            ),
            (
                "I changed my router and now all {days} of my devices are grey.",
                "Give the new router the old network's name and password, and all {days} come back by themselves.",
            ),
        ),
        (
            (
                "It still blinks. What now?",
                "Then let's look at its log. I have asked the {product} to send it; that takes a minute.",
            ),
            (
                "Do I lose my routines when I reset it?",
                "No, routines live in your account. Only the Wi-Fi settings are gone.",
            ),
            ("Where is the serial number?", "On the bottom of the {product}, below the QR code. It starts with LQ."),
            (
                "And without internet?",
                "Routines between the {product} and the {other_product} go on; the app shows the last state.",
            ),
        ),
        ("Setting up Wi-Fi", "What the lights mean", "Resetting a device", "Firmware notes 4.x", "Routines"),
        ("device_diagnostics",),
    ),
    Topic(
        "change_plan",
        "subscriptions",
        (
            (
                "I want to cancel my {tier} plan.",
                "Sorry to see you go. The {tier} plan ends with the paid month; recordings stay {days} more days.",
            ),
            (
                "What is the difference between the plus and the family plan?",
                "Plus keeps recordings for 30 days in one home, family for 60 days, three homes and six people.",
            ),
            (
                "Can I pause the {tier} plan while we are in {city} for the summer?",
                "Yes, for up to three months. Devices keep working, only recordings stop.",
            ),
            (
                "We moved together and have two accounts with {tier} plans now.",
                "I can merge them: the older account stays, and {amount:.2f} € of the other one become credit.",
            ),
        ),
        (
            ("When does it take effect?", "At the end of the billing period, in {days} days."),
            ("Do my children count as people?", "Everyone with a login of their own does. Guests don't."),
            ("Can I come back later?", "Any time. We keep your settings for a year."),
        ),
        ("Comparing plans", "Pausing a plan", "Cancelling", "Sharing a home"),
        ("subscription_change",),
    ),
    Topic(
        "recover_account",
        "account",
        (
            (
                "I can't log in any more, and the reset mail never comes.",
                "Our mails to you bounced {days} times. I have cleared the block, so please try again.",
            ),
            (
                "Someone in {city} logged into my account. That wasn't me!",
                "I have ended all sessions. Please set a new password and turn on two-step login.",
            ),
            (
                "How can I change the e-mail address of my account?",
                "Under Account, Profile. We send a link to both the old and the new address.",
            ),
            (
                "Please delete all my data.",
                "I have started the deletion. You have {days} days to change your mind; after that it can't be undone.",
            ),
            (
                "My phone with the authenticator is gone.",
                "Use one of the ten recovery codes. Without them we verify you by a letter to {city}.",
            ),
        ),
        (
            ("Which data do you keep about me?", "Orders for ten years, as the law asks, and device logs for 30 days."),
            ("Does my partner need a login, too?", "It's safer. Invite them under Home, People."),
            (
                "I don't have the old address any more.",
                "Then a colleague checks your identity; I have opened {case_number}.",
            ),
        ),
        ("Two-step login", "Logging in from a new place", "Deleting an account", "Changing the e-mail address"),
    ),
    Topic(
        "claim_warranty",
        "warranty",
        (
            (
                "The {product} broke after {days} months. Is that covered?",
                "Yes, every {product} has three years of warranty. We send a new one once the old one is on its way.",
            ),
            (
                "My {product} smells burnt when it has been on for an hour 🔥",
                "Please unplug it now and don't use it again. We collect it, and a new {product} goes out today.",
            ),
            (
                "The screen of my Tern thermostat has a dead row. I have the receipt of {order}.",
                "A photo is enough, no need to send it in. A new one for {order} ships tomorrow.",
            ),
            (
                "Water got into my {product}. Do you repair that?",
                "Water isn't covered by the warranty, but we repair a {product} for {amount:.2f} € at most.",
            ),
        ),
        (
            (
                "Does the new one have a new warranty?",
                "The first three years go on, but at least twelve months from now.",
            ),
            ("Shall I send the cable as well?", "Only the {product}, please. Keep the cable."),
            (
                "Can I have the {other_product} as a replacement?",
                "If the {product} is out of stock, yes. Right now it isn't.",
            ),
        ),
        ("Warranty terms", "Safety notices", "Repairs and prices"),
        ("order_status", "replacement"),
    ),
    Topic(
        "choose_product",
        "sales",
        (
            (
                "Which of your sensors is right for a cellar in {city}?",
                "For a cellar I'd take the Brook water leak sensor and one Moss air sensor for the damp.",
            ),
            (
                "Is the Kelp robot vacuum loud? It would live beside the bedroom in {city}.",
                "In quiet mode it stays below 48 dB, about as loud as rain. You can forbid it to start at night.",
            ),
            (
                "Does the Sable smart lock fit a door that is {days} cm thick?",
                "Up to 7 cm out of the box, and up to 11 cm with the long spindle, which is free on request.",
            ),
            (
                "Is there a discount on {days} pieces of the {product}?",
                "From five pieces on there are 8 % off. I can send you an offer of {amount:.2f} € for {days}.",
            ),
        ),
        (
            ("Is it in stock?", "Yes, in {city}. Ordered before 14:00, it leaves today."),
            (
                "How does it compare with the {other_product}?",
                "The {other_product} is newer; the {product} runs longer on a battery.",
            ),
            ("Does it speak Matter?", "It does since version 4.{days}, over Thread and Wi-Fi."),
        ),
        ("Buying guide: sensors", "Noise levels", "Volume discounts", "Matter and Thread"),
        ("stock_level",),
    ),
)
