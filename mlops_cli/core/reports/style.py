"""The one style sheet of every report: light and dark, phone and print. Text contrasts are at least 4.5 to 1."""

CSS = """
:root{--paper:#fff;--ink:#1b1f24;--soft:#59636e;--line:#d8dee4;--card:#f6f8fa;--reference:#a3aebb;--window:#0b62d6;
--alarm:#b3261e;--alarm-bg:#fdecea;--warn:#8a5300;--warn-bg:#fff4e0;--calm:#1a6b34;--calm-bg:#e7f5ec;
--unsure:#4a5360;--unsure-bg:#eef1f4;--hot:#f2a29b;--warm:#f3cf8e;--cool:#ccd6e0;--change:#a3369d}
@media screen and (prefers-color-scheme:dark){:root{--paper:#12161b;--ink:#e8ebef;--soft:#a1abb6;--line:#313942;
--card:#1a2027;--reference:#5f6b79;--window:#7ab4ff;--alarm:#ff9d94;--alarm-bg:#3a1a18;--warn:#ffc566;--warn-bg:#38290f;
--calm:#7fdb9c;--calm-bg:#122e1c;--unsure:#c0c8d1;--unsure-bg:#242b33;--hot:#8c2f29;--warm:#6b4a12;--cool:#3d4854;
--change:#f09be8}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:1120px;margin:0 auto;padding:32px 20px 48px}
h1{font-size:1.7rem;line-height:1.2;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.2rem 0 .5rem;overflow-wrap:anywhere}
p,li,caption,summary,footer{overflow-wrap:anywhere}
p{margin:.4rem 0}.subtitle,footer,caption,.faint{color:var(--soft)}
.subtitle{margin-top:.3rem}p.alarm{color:var(--alarm);font-weight:600}p.warn{color:var(--warn);font-weight:600}
.verdict{border-left:6px solid;border-radius:6px;padding:14px 18px;margin:20px 0 16px}
.verdict h2{margin:0;font-size:1.4rem;line-height:1.3}.verdict p{color:var(--ink);margin:.3rem 0 0}
.verdict.alarm{background:var(--alarm-bg);color:var(--alarm)}.verdict.warn{background:var(--warn-bg);
color:var(--warn)}
.verdict.calm{background:var(--calm-bg);color:var(--calm)}.verdict.unsure{background:var(--unsure-bg);
color:var(--unsure)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,auto));gap:12px 24px;margin:0}
.facts dt{color:var(--soft);font-size:.8rem}.facts dd{margin:0;font-weight:600;overflow-wrap:anywhere}
.scroll+.scroll{margin-top:1.6rem}.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:0 0 8px;font-size:.9rem}
th,td{text-align:left;padding:7px 14px 7px 0;border-bottom:1px solid var(--line);vertical-align:top}
th:last-child,td:last-child{padding-right:0}
tbody th{font-weight:600;overflow-wrap:anywhere;min-width:10.5em;max-width:22em}
thead th{color:var(--soft);font-weight:600;vertical-align:bottom;line-height:1.25}
td{overflow-wrap:anywhere;min-width:4em}
td.right,th.right{text-align:right}td.right,td.brief{white-space:nowrap}
small{display:block;color:var(--soft);font-weight:400;max-width:34em;white-space:normal;line-height:1.35}
td.alarm{color:var(--alarm);font-weight:600}td.warn{color:var(--warn);font-weight:600}td.calm{color:var(--calm)}
td.unsure,td.faint{color:var(--soft)}
a{color:inherit;text-decoration:underline;text-decoration-color:var(--soft);text-underline-offset:3px}
a:focus-visible,summary:focus-visible{outline:2px solid var(--window);outline-offset:2px}
.barred{white-space:nowrap}.bar{display:inline-block;width:56px;height:8px;margin-right:8px;border-radius:4px;
vertical-align:middle;background:linear-gradient(to right,var(--window) var(--part),var(--line) var(--part))}
details{margin:.8rem 0}summary{cursor:pointer;color:var(--soft);padding:4px 0}
.legend{font-size:.85rem;color:var(--soft);display:flex;flex-wrap:wrap;gap:2px 18px;margin:.3rem 0 .6rem}
b.key{display:inline-block;width:14px;height:14px;margin-right:6px;vertical-align:-2px}
b.key.reference{background:var(--reference)}b.key.window{border:2px solid var(--window)}
b.key.line,b.key.level{width:20px;height:0;border-top:2px solid var(--window);vertical-align:4px}
b.key.line.dashed{border-top-style:dashed;border-color:var(--soft)}
b.key.level{border-top:2px dotted var(--ink)}
b.key.change{width:0;border-left:2px solid var(--change);margin:0 9px}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(300px,100%),1fr));gap:16px;align-items:start}
figure{margin:0;padding:12px 14px 8px;background:var(--card);border:1px solid var(--line);border-radius:8px;
break-inside:avoid;min-width:0;scroll-margin-top:12px}
figure:target{border-color:var(--window);box-shadow:0 0 0 1px var(--window)}
figure p{font-size:.85rem;color:var(--soft);margin:.2rem 0}
figcaption{display:flex;justify-content:space-between;gap:10px;align-items:baseline;margin-bottom:4px}
figcaption b{overflow-wrap:anywhere;min-width:0}
.mark{font-size:.85rem;white-space:nowrap;color:var(--soft)}.mark.alarm{color:var(--alarm);font-weight:600}
.mark.warn{color:var(--warn);font-weight:600}.mark.calm{color:var(--calm)}
svg{display:block;width:100%;max-width:520px;height:auto}
svg .grid{stroke:var(--line);stroke-width:1}svg .axis{stroke:var(--soft);stroke-width:1}
svg .edge{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}
svg .tick{fill:var(--soft);font-size:11.5px;font-family:inherit}
svg .reference{fill:var(--reference)}svg .window{fill:var(--window);fill-opacity:.13;stroke:var(--window);
stroke-width:1.8;stroke-linejoin:round}
svg .window.solid{fill-opacity:1;stroke:none}
svg .band{fill:var(--window);fill-opacity:.18}svg .line{fill:none;stroke:var(--window);stroke-width:2}
svg .dot{fill:var(--window)}svg .whisker{stroke:var(--window);stroke-width:1.6}
svg .band.dashed{fill:var(--soft);fill-opacity:.14}svg .line.dashed{stroke:var(--soft);stroke-dasharray:5 4}
svg .dot.dashed{fill:var(--card);stroke:var(--soft);stroke-width:1.4}
svg .level{stroke:var(--ink);stroke-width:1.6;stroke-dasharray:1.5 3.5}
svg .change{stroke:var(--change);stroke-width:1.6}svg .flag{fill:var(--change)}
table.heat{width:auto;font-size:.85rem}.heat td,.heat th{padding:5px 8px;border:1px solid var(--paper)}
.heat thead th{text-align:center;white-space:nowrap;font-size:.8rem}
.heat tbody th{padding-left:0;min-width:7em;position:sticky;left:0;background:var(--paper);z-index:1}
.heat tbody td{text-align:center;min-width:50px;white-space:nowrap}
.heat tbody td,.shade{background:color-mix(in srgb,var(--cool) var(--h,0%),var(--card))}
.heat td.alarm,.shade.alarm{background:color-mix(in srgb,var(--hot) var(--h,0%),var(--alarm-bg))}
.heat td.warn,.shade.warn{background:color-mix(in srgb,var(--warm) var(--h,0%),var(--warn-bg))}
.heat td.alarm,.heat td.warn{color:var(--ink);font-weight:700}
.heat td.none{background:none}.heat td i{font-style:normal;font-size:.7em;vertical-align:1px;margin-right:2px}
.heat tbody td.now{border-left:3px solid var(--paper)}.heat thead th.now{color:var(--ink)}
ul.key{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:4px 18px;font-size:.85rem;color:var(--soft)}
.shade{display:inline-block;width:1.6em;text-align:center;margin-right:6px;font-size:.8em;color:var(--ink)}
ul{padding-left:1.2rem;margin:.4rem 0}li{margin:.25rem 0}
footer{margin-top:2.6rem;padding-top:12px;border-top:1px solid var(--line);font-size:.85rem}
@media screen and (max-width:640px){main{padding:20px 14px 36px}h1{font-size:1.4rem}.verdict h2{font-size:1.2rem}
.cards,.cards tbody,.cards caption{display:block}.cards thead{position:absolute;width:1px;height:1px;overflow:hidden;
clip-path:inset(50%)}
.cards tr{display:grid;grid-template-columns:1fr 1fr;gap:1px 18px;padding:9px 0;border-bottom:1px solid var(--line)}
.cards th,.cards td,.cards td.right{border:0;padding:0;min-width:0;max-width:none;text-align:left}
.cards tbody th{grid-column:1/-1;font-size:1rem}
.cards td{display:flex;justify-content:space-between;gap:8px}.cards td>span{text-align:right;min-width:0}
.cards td.right,.cards td.brief{white-space:normal}
.cards td::before{content:attr(data-of);color:var(--soft);font-weight:400}
.cards .bar{width:32px}.facts{grid-template-columns:1fr 1fr}
.heat td,.heat th{padding:4px 3px}.heat tbody td{min-width:38px;font-size:.78rem}.heat thead th{font-size:.7rem}
.heat tbody th{min-width:0;max-width:96px;font-size:.78rem}}
@media print{body{font-size:10pt}main{max-width:none;padding:0}.scroll{overflow:visible}h2{break-after:avoid}
table{font-size:8pt}th,td{padding:3px 6px 3px 0}td{min-width:0}tbody th{min-width:7em}
.bar{width:24px;margin-right:4px}tr{break-inside:avoid}.heat tbody th{position:static}
.gallery{grid-template-columns:1fr 1fr}
details::details-content{content-visibility:visible;display:block;height:auto}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
