"""200 texts that would run code, load something or change the page if any of them became markup, a link or code.

Each calls `owned()`, which the tests define to count. They are made from ways out of a context (element text, an
attribute, a comment, a script, JSON, a template), and elements that act.
"""

from typing import Final

_CALL: Final = "owned()"

# Elements that act as soon as they are in a page, or when touched.
_LIVE: Final = (
    f"<script>{_CALL}</script>", f"<script type=module>{_CALL}</script>", f"<ScRiPt >{_CALL}</ScRiPt >",
    f"<img src=x onerror={_CALL}>", f"<img/src=x/onerror={_CALL}//", f"<svg onload={_CALL}>",
    f"<svg><script>{_CALL}</script></svg>", f"<svg><animate onbegin={_CALL} attributeName=x dur=1s>",
    f"<body onload={_CALL}>", f"<iframe srcdoc='<script>parent.{_CALL}</script>'></iframe>",
    f"<iframe src=javascript:parent.{_CALL}></iframe>", f"<object data=javascript:{_CALL}></object>",
    f"<embed src=javascript:{_CALL}>", f"<a href=javascript:{_CALL} autofocus onfocus={_CALL} tabindex=1>x</a>",
    f"<input autofocus onfocus={_CALL}>", f"<select autofocus onfocus={_CALL}>", f"<details open ontoggle={_CALL}>x",
    f"<video><source onerror={_CALL}></video>", f"<audio src=x onerror={_CALL}></audio>",
    f"<marquee onstart={_CALL}>x</marquee>", f"<form><button formaction=javascript:{_CALL} autofocus>x</form>",
    f"<math><maction actiontype=statusline xlink:href=javascript:{_CALL}>x</maction></math>",
    f"<style onload={_CALL}></style>", "<style>*{display:none}</style>",
    f"<link rel=stylesheet href=x onerror={_CALL}>",
    f"<meta http-equiv=refresh content='0;url=javascript:{_CALL}'>", "<base href=//invalid.example/>",
    f"<template><script>{_CALL}</script></template>", f"<noscript><img src=x onerror={_CALL}></noscript>",
    f"<xss style=animation-name:a onanimationstart={_CALL}></xss>", f"<div popover id=p onbeforetoggle={_CALL}>x</div>",
    f"<img src='//invalid.example/x' onload={_CALL} onerror={_CALL}>",
)  # fmt: skip

# What ends the context that a text might stand in.
_WAYS_OUT: Final = ("", '">', "'>", "--></title></style></textarea></script>", "`}}]]>")

_OTHERS: Final = (
    f"javascript:{_CALL}", f"JaVaScRiPt:{_CALL}", f"java\tscript:{_CALL}", f"java\nscript:{_CALL}",
    f"\x01javascript:{_CALL}", f"data:text/html,<script>{_CALL}</script>", f"vbscript:{_CALL}",
    f"javascript&colon;{_CALL}", f"';{_CALL};'", f'";{_CALL};"', f"`;{_CALL};`", f"${{{_CALL}}}", f"{{{{{_CALL}}}}}",
    f"{{{{constructor.constructor('{_CALL}')()}}}}", f"{{% {_CALL} %}}", f"<%= {_CALL} %>", f"#{{{_CALL}}}",
    f"</script><script>{_CALL}</script>", "<!--<script>", "<!-- <script> -->",
    f"</script ><img src=x onerror={_CALL}>", f"\u2028{_CALL}\u2029",
    f"\\u003cscript\\u003e{_CALL}\\u003c/script\\u003e", f"&lt;script&gt;{_CALL}&lt;/script&gt;",
    f"&#60;script&#62;{_CALL}&#60;/script&#62;", f"\\x3cscript\\x3e{_CALL}", f"%3Cscript%3E{_CALL}%3C/script%3E",
    f"＜script＞{_CALL}＜/script＞", f"+ADw-script+AD4-{_CALL}", "\ud800<script>", "\x00<script>\x00",
    f'" onmouseover={_CALL} x="', f"' onfocus={_CALL} autofocus tabindex=1 x='", f"x:expression({_CALL})",
    "__proto__", "constructor", '{"__proto__": {"onclick": 1}}', "toString", f"\u202e{_CALL}\u202c",
    "A" * 5_000 + f"<img src=x onerror={_CALL}>",
)  # fmt: skip

PAYLOADS: Final = tuple(way + live for way in _WAYS_OUT for live in _LIVE) + _OTHERS
assert len(PAYLOADS) == len(set(PAYLOADS)) == 200
