"""Topics of customers who write in languages other than English."""

from typing import Final

from app.demo.topics import Exchange, Topic


def _topic(
    language: str, intent: str, thanks: Exchange, apology: str, articles: tuple[str, ...], *exchanges: Exchange
) -> Topic:
    """Return a topic in another language; its exchanges fit anywhere in a conversation."""
    plain = ("",)
    return Topic(
        intent,
        "international",
        exchanges,
        exchanges,
        articles,
        ("order_status",),
        language,
        greetings=plain,
        sign_offs=plain,
        lead_ins=plain,
        openings=plain,
        closings=plain,
        thanks=(thanks,),
        apology=apology,
    )


TOPICS: Final = (
    _topic(
        "de",
        "track_order",
        ("Super, vielen Dank! 😊", "Sehr gerne, {first_name}. Viel Freude mit Ihrem Gerät!"),
        "Leider antwortet das System gerade nicht. Ihr Anliegen ist als {case_number} notiert.",
        ("Sendung verfolgen", "Lieferzeiten nach Ländern"),
        (
            "Wo bleibt meine Bestellung {order}? Sie sollte längst in {city} sein.",
            "Ihre Bestellung {order} ist mit {carrier} unterwegs und kommt in {days} Tagen an.",
        ),
        (
            "Kann ich das Paket an eine Packstation schicken lassen?",
            "Ja, solange es noch nicht zugestellt wird. Ich habe {carrier} Bescheid gegeben.",
        ),
        (
            "Mein {product} war beschädigt, die Ecke ist eingedrückt.",
            "Das tut mir leid. Wir schicken Ihnen sofort einen neuen {product}; den alten holt {carrier} ab.",
        ),
        (
            "Die Rechnung über {amount:.2f} € verstehe ich nicht.",
            "Darin steckt der Tarif für diesen und für den letzten Monat.",
        ),
    ),
    _topic(
        "fr",
        "connect_device",
        ("Ça marche, merci beaucoup !", "Avec plaisir, {first_name}. Bonne journée !"),
        "Le système ne répond pas pour le moment. Votre demande est notée sous {case_number}.",
        ("Connexion au Wi-Fi", "Réinitialiser un appareil"),
        (
            "Mon {product} ne se connecte plus depuis la mise à jour.",
            "Maintenez le bouton appuyé dix secondes, puis ajoutez de nouveau le {product} dans l'application.",
        ),
        ("Est-ce que je perds mes réglages ?", "Non, vos scénarios sont gardés dans votre compte."),
        (
            "Le voyant clignote {days} fois, c'est grave ?",
            "Pas du tout : le mot de passe du Wi-Fi n'a pas été accepté.",
        ),
        ("Je voudrais être remboursé de {amount:.2f} €.", "C'est noté ; le virement prend trois à cinq jours ouvrés."),
    ),
    _topic(
        "es",
        "return_item",
        ("¡Genial, mil gracias! 🙌", "¡De nada, {first_name}! Que tenga un buen día."),
        "El sistema no responde ahora mismo. He anotado su consulta como {case_number}.",
        ("Cómo devolver un producto", "Plazos de reembolso"),
        (
            "¿Cómo devuelvo el {product}? No es lo que esperaba.",
            "Enseñe el código QR en cualquier tienda de {carrier}; la devolución es gratuita.",
        ),
        ("¿Cuánto tarda el reembolso de {amount:.2f} €?", "De tres a cinco días hábiles desde que llega el paquete."),
        ("El pedido {order} llegó sin el cable.", "Lo siento mucho. El cable sale hoy mismo hacia {city}."),
    ),
    _topic(
        "pl",
        "explain_invoice",
        ("Dziękuję, wszystko jasne!", "Cała przyjemność po naszej stronie, {first_name}!"),
        "System chwilowo nie odpowiada. Zgłoszenie zapisałem pod numerem {case_number}.",
        ("Jak czytać fakturę", "Formy płatności"),
        (
            "Dlaczego zapłaciłem {amount:.2f} € za zamówienie {order}?",
            "Kwota obejmuje {product} oraz dostawę kurierem {carrier}.",
        ),
        ("Proszę o fakturę na firmę.", "Gotowe, faktura jest w zakładce Konto, Dokumenty."),
        ("Czy mogę zmienić adres dostawy na {city}?", "Tak, zmieniłem adres. Paczka dotrze za {days} dni."),
    ),
    _topic(
        "ja",
        "claim_warranty",
        ("ありがとうございます。助かりました🙇", "どういたしまして。またいつでもご連絡ください。"),
        "ただいまシステムに接続できません。受付番号は{case_number}です。",
        ("保証について", "修理と料金"),
        (
            "{product}が{days}か月で動かなくなりました。保証の対象ですか。",
            "はい、保証期間は三年です。新しい{product}をお送りします。",
        ),
        ("古い製品は返送が必要ですか。", "いいえ、写真だけで十分です。"),
        ("注文{order}はいつ届きますか。", "{carrier}がお届けします。あと{days}日ほどお待ちください。"),
    ),
    _topic(
        "ar",
        "recover_account",
        ("شكرا جزيلا 🌷", "على الرحب والسعة!"),
        "النظام لا يستجيب الآن. سجلت طلبك برقم {case_number}.",
        ("تسجيل الدخول بخطوتين", "تغيير البريد الإلكتروني"),
        ("لا أستطيع تسجيل الدخول إلى حسابي.", "أرسلت لك رابطا جديدا، وهو صالح لمدة {days} ساعات."),
        ("أين طلبي رقم {order}؟", "الطلب في الطريق مع {carrier} وسيصل خلال {days} أيام."),
        ("هل يعمل {product} بدون إنترنت؟", "نعم، تعمل الأوامر المحلية دون اتصال."),
    ),
)
