"""Answers that decline to answer: abstentions, in the common languages.

A refusal is a shape, not a phrase: a negated ability ("cannot", "unable", "not possible") with a verb of finding out
("determine", "tell", "see"), missing information, an apology before either, or a word that stands for "no answer".
The shapes are matched on the whole answer, so that real answers that hold such words stay: "Unknown Pleasures", "no",
"none", "It is not possible to turn left", "not enough salt", "Na".
"""

import re

_FIND = (
    r"(?:determin|tell|told|say|said|see|seen|know|known|answer|identif|infer|deduc|ascertain|provid|giv|assist|help|"
    r"discern|verif|confirm|comput|calculat|conclu|specif|decid|judg|recogni[sz]|read|mak|view|find"
    r"|estimat|figure|comment|"
    r"establish|assess|respond|compl|fulfil|describ|process|access|count|measur|interpret|analy[sz]"
    r"|locat|guess|speculat|found|be sure|be certain)\w*"
)
# What may follow a refusal: where one looked, and what for. Anything goes once a verb of finding out was negated,
# except where the sentence is about somebody else ("the man cannot see").
_ME = (
    r"(?:i|we|one|you|it|this|that|the (?:answer|value|exact \w+|number|question|information|image"
    r"|exact answer|exact number)|there)"
)
_CANNOT = (
    r"(?:can ?not|cant|can never|could ?not|couldnt|am not able|are not able|is not able|not able"
    r"|unable|am unable|wont be able|will not be able|do not have the ability|am not sure how|not "
    r"possible|isnt possible|impossible|infeasible|not feasible|hard|difficult|too difficult|not "
    r"easy)"
)
_INFO = r"(?:information|info|data|detail|details|context|evidence|clarity|resolution|visibility|input|clues?)"
_SOURCE = (
    r"(?>(?:the|this|your|provided|given|image|images|picture|photo|photograph|figure|diagram|chart"
    r"|graph|question|text|information|context|passage|scene|table|map|drawing|problem|above|available"
    r"|shown|visible|data|statement)\b ?)++"
)

_MISSING = (
    r"(?:(?:no|sorry|unfortunately|im sorry|i am sorry|but) )*(?:there (?:is|are|was|were) (?:no|not an?|not any)"
    r"|there (?:isnt|arent|wasnt|werent)(?: an?| any)?|theres no|i (?:see|have|find|was given|received) no"
    r"|i (?:dont|do not) (?:see|have|find)(?: an?| any)?)"
)

_ENGLISH = [
    re.compile(pattern)
    for pattern in (
        # I cannot determine this; unable to tell; not possible to say; it cannot be determined from the image
        rf"(?:(?:sorry|apologies|unfortunately|im sorry|i am sorry|i apologi[sz]e|regrettably|as an ai\b.*?"
        rf"|but|based on {_SOURCE}|from {_SOURCE}|in {_SOURCE}|answer)[ ,]+)*(?:(?:{_ME}|{_SOURCE}|its"
        rf"|im|is|are|was|be|being) )*(?:{_CANNOT} )(?:(?:for me |for us )?to )?(?:be |really |accurately "
        rf"|definitively |reliably |exactly |clearly |precisely |currently |conclusively |fully |confidently "
        rf")*{_FIND}\b.*",
        rf"(?:{_ME} )?(?:is |are |was )?(?:un|in|not )(?:determin(?:ed|able|ate)|discernible|identifiable"
        rf"|answerable|knowable|decidable|solvable|readable|specified|stated|given|provided|shown|visible"
        rf"|available|applicable|known|clear|sure|certain|legible|mentioned|indicated|disclosed|discernable"
        rf"|computable|determinable)(?: (?:from|in|on|by|with|based on|for|within|here|to me|at all|about) "
        rf"?.*)?",
        rf"(?:{_ME} |{_SOURCE})?(?:is |are |was )?(?:not|isnt|arent|wasnt) (?:clearly |explicitly |directly "
        rf"|fully |really )?(?:determin(?:ed|able|ate)|discernible|identifiable|answerable|knowable|decidable"
        rf"|solvable|specified|stated|given|provided|shown|visible|available|applicable|known|clear|sure"
        rf"|certain|legible|mentioned|indicated|disclosed|discernable|possible to {_FIND}|depicted|listed)(?: "
        rf"(?:from|in|on|by|with|based on|for|within|here|to me|at all|about|enough) ?.*)?",
        # not enough information; insufficient data; the image does not provide enough detail
        rf"(?:there |there is |there isnt |there are |i have |we have |i dont have |we dont have |i do not have "
        rf"|due to |{_SOURCE}(?:has |contains |provides |gives |offers )?|answer )*(?:not |isnt |arent |no "
        rf"|insufficient|inadequate|lack of|lacks|lacking|without|too little|missing|not sufficient|not enough)(?: "
        rf"?(?:enough|sufficient|adequate|relevant|visual|further|available|such|specific|clear|the|necessary"
        rf"|required))*(?: {_INFO})(?:[ ,].*)?",
        r"(?:i |we )?(?:dont|do not) have (?:enough|sufficient|access|adequate|the)\b.*",
        rf"(?:{_SOURCE}|it|this|that|there|question|they)\s?(?:does not|doesnt|do not|dont|did not|didnt"
        rf"|fails to)(?: \w+ly)? (?:provide|show|specify|contain|give|include|say|state|tell|indicate"
        rf"|mention|display|offer|have enough|have sufficient|reveal|depict|list|supply|allow|make clear"
        rf"|present)\b.*",
        r"(?:i|we) (?:dont|do not|didnt|did not|dunno)(?: really| actually)? (?:know|see|have|think i "
        r"can|understand)\b.*",
        r"(?:there is |there was |i see |theres )?(?:no|none|without) "
        r"(?:answer|information|info|data|solution given|image|answer given|answer "
        r"provided|answer available|information available|information given|information provided|data "
        r"available|visible answer|idea|clue|image provided|image given|image available)(?: (?:is|was"
        r"|are|can|could|given|provided|available|found|in|from|on|for|about|to|here|visible|shown|based"
        r"|exists|possible|at)\b.*)?",
        # there are no details; there is no image attached: nothing was there to look at
        rf"{_MISSING} (?:(?:further|specific|such|relevant|additional|clear|given|provided|visible|other) )*"
        r"(?:details?|information|info|data|attachments?|context|image)(?: .*)?",
        rf"{_MISSING} (?:(?:actual|attached|visible|clear|given|provided) )*"
        r"(?:images?|pictures?|photos?|photographs?|figures?|diagrams?|graphs?|charts?) (?:attached|provided|given|"
        r"uploaded|available|here|shown|included|present|visible|to (?:see|look|answer|anal|refer)|for me)\b.*",
        # no, this cannot be determined; "No, I cannot see a dog" is a no
        rf"no (?:(?:{_ME}|is|are|im) )*(?:{_CANNOT} )(?:to )?(?:be )?"
        r"(?:determin|tell|answer|identif|infer|say|said|know|verif|confirm)\w*\b.*",
        r"(?:(?:sorry|im sorry|i am sorry|unfortunately|but) )+(?:the |this )?(?:image|picture|photo|text) is .*",
        r"(?:the )?(?:illegible|unreadable|blurry|unclear) (?:text|writing|handwriting|image|picture)",
        r"(?:there isnt|there is not) an? (?:image|picture|photo|attachment)"
        r"(?: (?:provided|given|attached|here|to|for)\b.*)?",
        # the label is illegible
        r"(?:(?!no\b)\w+ ){1,4}(?:is|are) (?:completely |partly |mostly )?"
        r"(?:illegible|unreadable|not (?:legible|readable))",
        r"(?:does not|doesnt) (?:say|state|specify|mention|indicate)\b.*",
        r"(?:im|i am|we are|were)(?: still)? (?:not|un)\s?(?:sure|certain|able|clear|aware|familiar|confident)\b.*",
        r"(?:(?:im|i am|we are) (?:so |very )?(?:sorry|afraid)|sorry|(?:my |i )apologi\w*|unfortunately)\b.*\b(?:can "
        r"?not|cant|unable|not able|dont|do not|does not|doesnt|couldnt|could not|wont|not possible|no"
        r"|not|impossible|isnt)\b.*",
        r"(?:(?:im|i am) (?:so |very )?sorry|sorry|(?:my |i )apologi[sz]\w*)",
        r"(?:as an? (?:ai|artificial|language|large)\b).*",
        r"(?:none|nothing) (?:given|provided|stated|specified|shown|mentioned|available)",
        rf"(?:need|needs|require|requires|requiring) (?:more|further|additional) {_INFO}.*",
        rf"(?:more|further|additional) {_INFO} (?:is |are )?(?:needed|required|necessary).*",
        rf"(?:please )?(?:provide|upload|share|send) (?:more|the|an?|your|further|additional) (?:{_INFO}"
        rf"|image|picture|photo)\b.*",
        r"(?:cannot|can not|cant|could not|couldnt|unable|not able|undecided|unspecified|undetermined"
        r"|undeterminable|indeterminable|indeterminate|unanswerable|unclear|uncertain|unsure|unknown"
        r"|unknowable|inconclusive|unidentifiable|unidentified|illegible|unreadable|undisclosed|ambiguous"
        r"|not sure|not certain|not known|no answer|no idea|no clue|dont know|dunno|idk|unknown (?:value"
        r"|quantity|number|answer|amount)|not (?:specified|given|stated|shown|provided|visible|applicable"
        r"|available|mentioned|clear|determined|known|enough|answerable|determinable|indicated)|tbd|tba"
        r"|n a|n\.?/?a\.?|nan|null|nil answer|none given|unsolvable|insufficient|insufficient (?:info"
        r"|data)|impossible to (?:say|tell|know|determine)|hard to (?:say|tell)|difficult to (?:say|tell)"
        r"|it depends|who knows|not a number)",
        r"(?:your |the |my |final |correct |short |exact |single |actual |boxed |insert |here |put |write "
        r"|is )*(?:answer|final answer|your answer|answer here|result here|response|placeholder|solution "
        r"here|value here|final result|answer goes here|answer text|number here|word here)",
        r"(?:[.…?_*\-#]|\\ldots|\\dots|\\cdots|\\square|\\_|\\text)+",
        r"(?:i have |theres |there is |we have |there exists )?no (?:way|means|method|idea|clue|possible "
        r"way|basis)(?: (?:to|of|for|what|how|which|who|where).*)?",
        rf"(?:{_SOURCE}|{_INFO} )(?:is |are )?(?:insufficient|inadequate|incomplete|lacking|missing|not "
        rf"enough|not sufficient)",
        rf".*\btoo (?:blurry|blurred|small|dark|far|far away|unclear|low|pixelated|faint|grainy|low in "
        rf"resolution|distant)\b.*\bto (?:be )?{_FIND}\b.*",
        r"(?:its |it is |it |this |this is |that |that is )?(?:is |remains )?(?:un(?:clear|known|certain"
        r"|determined|specified)|indeterminate|ambiguous)(?: (?:from|in|based on|what|which|who|how|whether"
        r"|if|why|where|due|because|as|since|without|at this) .*)?",
    )
]  # fmt: skip
# Cheap: a refusal in English holds one of these.
_HINT = re.compile(
    r"not|n't|nt\b|un|in(?:de|suf|con|adeq|feas)|no |none|nothing|sorry|apolog|imposs|hard|diffic"
    r"|lack|missing|without|too little|idk|tb[da]|n\.?/?a|"
    r"nan|null|answer|response|placeholder|result|here|ambig|illeg|undec|dunno|who knows|depends|afraid|need|requir|"
    r"more|further|additional|provide|upload|share|send|fails|as an|[\\.…?_*#]|undef|infeas|i am"
    r"|im|^x+$|-|can never|insert|too "
)

_OTHER = [
    re.compile(pattern)
    for pattern in (
        # Chinese, Japanese, Korean
        r".{0,30}?(?:无法|無法|不能|不可能|没法|沒法|难以|難以|不足以|未能)(?:从[^。]*?|根据[^。]*?|由[^。]*?)?(?:准确|準確|明确|直接|完全|可靠)?(?:地)?(?:确定"
        r"|確定|判断|判斷|得知|知道|回答|辨认|辨別|识别|辨别|看出|看清|得出|推断|推斷|确认|確認|计算|計算|获得|提供|作答|解答|辨識|识別|给出|得到|看到|确切).*",
        r"(?:我)?(?:不知道|不清楚|不确定|不確定|不明|未知|不详|不詳|不明确|不明確|无答案|無答案|没有答案|说不准|说不清|未提供|未说明|未标明|未给出|未显示|没有提供"
        r"|没有给出|没有显示|没有说明|没有足够|信息不足|资料不足|資料不足|資訊不足|条件不足|缺少信息|无可奉告|不适用|暂无|无从得知|無從得知|看不清|看不出|未標示|未知数).*",
        r".*(?:没有|沒有|未|缺乏|缺少|无|無)(?:足够|足夠|充分|提供|显示|顯示|给出|給出|说明|說明|相关|任何|的){1,5}(?:信息|資訊|资料|資料|数据|數據|细节|證據|线索).*",
        r"(?:该|此|这张|這張)?(?:图|圖|图片|圖片|图像|图表|题目|文中|题)(?:中|里|上)?(?:没有|沒有|未|并未|並未)(?:明确|直接)?(?:显示|顯示|提供|给出"
        r"|給出|标明|标出|说明|指出|提及|提到|写).*",
        r".*nicht (?:eindeutig |genau )?möglich\b.* zu (?:bestimmen|sagen|erkennen|beantworten|beurteilen"
        r"|ermitteln).*",
        r".*(?:信息|資訊|资料|資料|数据|数据|条件|條件|情報|データ)(?:不足|不够|不夠|が不足|が足りません|不十分|が不十分).*",
        r"(?:对不起|抱歉|很抱歉|不好意思|申し訳|すみません|ごめんなさい|죄송).*",
        r".*(?:わかりません|分かりません|判りません|わからない|分からない|判断できません|判断できない|特定できません|特定できない|答えられません|答えられない|読み取れません|読み取れない"
        r"|決定できません|決定できない|確認できません|確認できない|できかねます|見えません|不可能です|判別できません|判別できない)。?",
        r"(?:不明(?:です)?|未定|該当なし|情報なし|回答不可|判定不能|特定不可|判断不能|判別不能|解答不能)",
        r".*(?:알 수 없|알수없|모르겠|모릅니다|판단할 수 없|확인할 수 없|결정할 수 없"
        r"|답할 수 없|파악할 수 없|구할 수 없|정보가 부족|정보 부족|정보가 충분하지"
        r"|불가능|식별할 수 없|말할 수 없|볼 수 없|답변할 수 없|특정할 수 없)[가-힣]*\.?",
        r"(?:알 ?수 ?없음|모름|불명|미상|해당 ?없음|정보 ?없음|판단 ?불가|확인 ?불가|알 ?수 ?없다)",
        # Spanish, French, German, Portuguese, Italian
        r"(?:lo siento|perdón|disculpa|lamentablemente|no lo sé|no sé|no se sabe|no se puede|no es posible"
        r"|no puedo|no podemos|imposible|desconocido|desconocida|se desconoce|no hay (?:suficiente|información"
        r"|datos)|información insuficiente|datos insuficientes|no (?:está )?(?:especificado|determinado"
        r"|disponible|aplica|visible(?= (?:en|desde)\b|[.,]?$)|indicado)"
        r"|indeterminado|sin respuesta|no determinable|no lo puedo"
        r"|la imagen no (?:proporciona|muestra|contiene|indica|especifica)|n/d)(?!\w)(?: (?:determin"
        r"|saber|dec|ver|responder|identific|suficiente|información|de |desde|en |con |la |el |lo |pero"
        r"|por|a |ayud|calcul|estar|proporcion).*)?[,.]?.*",
        r"(?:désolée?|je suis désolée?|malheureusement|je ne (?:sais|peux|vois)|on ne (?:sait|peut)|impossible "
        r"(?:à|de)|il (?:est|m'est|mest) impossible (?:de|à)|il n'?est pas possible de (?:détermin|dire"
        r"|savoir|répond|voir)|inconnue?|indéterminée?|non (?:spécifié|précisé|déterminé|disponible|applicable"
        r"|visible|déterminable)|pas assez d'?|informations? insuffisantes?|données insuffisantes|aucune "
        r"information|l'?image ne (?:montre|fournit|précise|permet|contient|donne)|ne peut (?:pas )?être "
        r"déterminée?|cela ne peut|sans réponse)(?!\w).*",
        r".*(?:ne peut pas|ne peuvent pas|ne peut) être (?:déterminé|connu|identifié|lu).*",
        r"(?:tut mir leid|es tut mir leid|entschuldigung|leider|ich weiß (?:es )?nicht|ich weiss (?:es "
        r")?nicht|weiß nicht|ich kann (?:das |es |die |dies )?.*nicht|kann (?:man )?nicht (?:bestimm"
        r"|beantwort|erkann|sag|ermitt|festgest|gesagt)\w*|nicht (?:bestimmbar|erkennbar|angegeben|bekannt"
        r"|ersichtlich|sichtbar|möglich zu|zu erkennen|zu bestimmen|beantwortbar|verfügbar|anwendbar"
        r"|feststellbar|zutreffend|spezifiziert|lesbar|genug informationen|genügend informationen)|unbekannt"
        r"|unklar|unbestimmt|keine (?:angabe|angaben|information|informationen|antwort|ahnung|daten)"
        r"|nicht genug|nicht genügend|zu wenig informationen|unzureichende (?:information|informationen"
        r"|daten)|das bild (?:zeigt|enthält|liefert|gibt) (?:nicht|keine)|unmöglich zu (?:sagen|bestimmen"
        r"|erkennen))(?!\w).*",
        r".*(?:kann|lässt sich|können) .*nicht (?:bestimm|erkann|beantwort|ermittel|erkenn|feststell"
        r"|festgestellt|gesagt|sagen|abgelesen|entnommen|identifizier).*",
        r"(?:desculpe|sinto muito|lamento|infelizmente|não sei|não (?:é possível|posso|podemos|consigo"
        r"|se sabe|se pode|há (?:informaç|dados)|foi possível|dá para)|impossível (?:determinar|saber"
        r"|dizer)|desconhecid[oa]|indeterminad[oa]|não (?:especificado|informado|determinado|disponível"
        r"|aplicável|visível|identificado|identificável)|informações? insuficientes?|informação insuficiente"
        r"|dados insuficientes|sem (?:resposta|informação|informações)|a imagem não (?:fornece|mostra"
        r"|contém|indica|especifica))(?!\w).*",
        r".*(?:não pode ser|no puede ser|non può essere|no se puede) (?:determinad|identificad|conhecid"
        r"|conocid|determinat|identificat|respondid|determinar|saber|identificar|responder|leer|ver).*",
        r"(?:mi dispiace|spiacente|purtroppo|scusa|non (?:lo )?so|non (?:è possibile|posso|possiamo|si "
        r"può|si sa|ci sono (?:abbastanza|sufficienti)|è (?:specificat|determinabil|chiar|indicat|visibil)\w*)"
        r"|impossibile (?:da )?(?:determinare|dire|sapere|stabilire)|sconosciut[oa]|indeterminat[oa]"
        r"|ignot[oa]|non (?:specificato|determinato|disponibile|applicabile|determinabile|noto|nota)"
        r"|informazioni insufficienti|dati insufficienti|nessuna (?:informazione|risposta)|l'?immagine "
        r"non (?:fornisce|mostra|contiene|indica))(?!\w).*",
        # Russian, Arabic, Hindi, Turkish, Vietnamese, Indonesian, Dutch, Polish
        r"(?:извините|простите|к сожалению|(?:я )?не (?:знаю|могу|вижу|известно|определено|указано|видно"
        r"|хватает|ясно|применимо|возможно определить)|невозможно (?:определить|сказать|узнать|ответить"
        r"|установить)|неизвестно|неизвестен|неизвестна|неясно|нет (?:информации|данных|ответа|достаточно)"
        r"|недостаточно (?:информации|данных|сведений)|нельзя (?:определить|сказать|узнать|установить)"
        r"|мало (?:информации|данных)|неопределено|неопределенно|затрудняюсь)(?!\w).*",
        r".*(?:нельзя|невозможно|не могу|не удается|не удаётся) (?:точно |однозначно )?(?:определить"
        r"|ответить|установить|сказать|узнать|распознать|увидеть).*",
        r".*(?:لا يمكن|لا أستطيع|لا استطيع|غير ممكن|لا يمكنني|يتعذر|من المستحيل|تعذر).*(?:تحديد|معرفة"
        r"|الإجابة|الجزم|القول|رؤية|مساعد|التحديد|المعرفة).*",
        r"(?:عذرا|عذراً|آسف|للأسف|لا أعرف|لا اعرف|لا أعلم|غير معروف|غير محدد|غير واضح|غير متوفر|غير معلوم"
        r"|غير مذكور|لا توجد معلومات|معلومات غير كافية|لا تتوفر معلومات|مجهول|لا يمكن التحديد|لا يمكن "
        r"تحديده)(?!\w).*",
        r".*(?:नहीं (?:किया|बता|कहा|जान|दे|देख|कर) ?(?:जा)? ?(?:सकता|सकते|सकती)|निर्धारित नहीं|ज्ञात "
        r"नहीं|पता नहीं|मालूम नहीं|स्पष्ट नहीं|पर्याप्त जानकारी नहीं|जानकारी (?:नहीं|उपलब्ध नहीं)).*",
        r"(?:अज्ञात|अस्पष्ट|अनिश्चित|क्षमा करें.*|माफ़ करें.*|मुझे नहीं पता|उपलब्ध नहीं|लागू नहीं|पर्याप्त "
        r"जानकारी नहीं है)",
        r"(?:üzgünüm|maalesef|bilmiyorum|bilinmiyor|belirlenemez|belirtilmemiş|belirsiz|yeterli bilgi "
        r"yok|bilgi yetersiz|bilinmeyen|tespit edilemez)(?!\w).*",
        r".*(?:belirlenemez|belirlenemiyor|söylenemez|bilinemez|tespit edilemez|cevaplanamaz)",
        r"(?:xin lỗi|rất tiếc|tôi không (?:biết|thể)|không (?:thể (?:xác định|biết|trả lời|nói)|xác định"
        r"|rõ|biết|đủ thông tin|có (?:thông tin|đủ))|chưa (?:biết|rõ|xác định)).*",
        r"(?:maaf|tidak (?:dapat (?:ditentukan|diketahui|dijawab|menentukan)|diketahui|bisa (?:ditentukan"
        r"|diketahui)|tahu|jelas|cukup (?:informasi|data)|ada informasi)|saya tidak (?:tahu|bisa|dapat)"
        r"|informasi tidak cukup)(?!\w).*",
        r"(?:sorry, ik|het spijt me|helaas|ik weet (?:het )?niet|weet (?:ik )?niet|onbekend|onduidelijk"
        r"|niet (?:te bepalen|bekend|duidelijk|zichtbaar|te zien|vermeld|genoeg informatie|mogelijk te "
        r"(?:zeggen|bepalen)|beschikbaar|van toepassing)|kan niet (?:bepaald|worden bepaald|vastgesteld"
        r"|zeggen|gezegd)|onvoldoende (?:informatie|gegevens)|geen (?:informatie|antwoord|idee))(?!\w).*",
        r"(?:przepraszam|niestety|nie wiem|nie (?:można|da się|mogę) (?:tego )?(?:określić|stwierdzić"
        r"|ustalić|powiedzieć|odpowiedzieć)|nieznan[yaeo]|nie wiadomo|brak (?:informacji|danych|odpowiedzi)"
        r"|nieokreślon[yaeo]|za mało informacji|niewystarczające (?:informacje|dane))(?!\w).*",
        r"(?:ไม่ทราบ|ไม่สามารถ(?:ระบุ|บอก|ตอบ|กำหนด)|ไม่แน่ใจ|ไม่รู้|ไม่มีข้อมูล|ข้อมูลไม่เพียงพอ|ขออภัย|ขอโทษ).*",
    )
]  # fmt: skip

_PUNCTUATION = re.compile(r"[\s,.;:!()\[\]\"“”-]+")
_NAMED = re.compile(r"^(?:na|nan)$")


def is_refusal(text: str) -> bool:
    """Whether a folded answer says that there is no answer.

    Args:
        text: folded, in its own case: "NA" abstains and "Na" is sodium.
    """
    if len(text) > 300:
        return False
    if text in ("Na", "Nan") or (text[-2:-1].isalpha() and text[-1] in "+-"):  # sodium and its ion, a name
        return False
    lowered = text.casefold()
    if text.isascii():
        plain = _PUNCTUATION.sub(" ", lowered.replace("'", "")).strip() or lowered
        if _HINT.search(lowered) is not None and any(pattern.fullmatch(plain) for pattern in _ENGLISH):
            return True
    if _OTHER_START.search(lowered) is None:
        return False
    stripped = lowered.strip(" .!?。！")
    return any(pattern.fullmatch(stripped) for pattern in _OTHER)


# One of these stands in every refusal of the other languages.
_OTHER_START = re.compile(
    r"[^\x00-\x7f]|\bno\b|\bnon\b|\bnicht\b|\bkein|\bsin\b|insuf|imposs|desco|indeter|lo siento|pas "
    r"assez|unb|unkl|unm|leider|sorry, ik|"
    r"helaas|weet|onb|ond|onv|geen|niet|nie|brak|maaf|tidak|informasi|bilm|bilin|belir|malh|spiac"
    r"|purt|scus|mi disp|sconos|ignot|nessun|"
    r"inconn|je |on ne|desculp|sinto|lament|infeliz|dados|donn|datos|tut mir|entsch|perd|se desc"
    r"|n/d|przep|za ma|unzu|zu wenig|unmög|disculpa|l'?im"
)
