"""The one style sheet of every report: light and dark, phone and print. Text contrasts are at least 4.5 to 1."""

CSS = """
:root{--paper:#fff;--ink:#1b1f24;--soft:#59636e;--line:#d8dee4;--card:#f6f8fa;--reference:#aab4c0;--window:#0b62d6;
--alarm:#b3261e;--alarm-bg:#fdecea;--warn:#8a5300;--warn-bg:#fff4e0;--calm:#1a6b34;--calm-bg:#e7f5ec;
--unsure:#4a5360;--unsure-bg:#eef1f4}
@media (prefers-color-scheme:dark){:root{--paper:#12161b;--ink:#e8ebef;--soft:#a1abb6;--line:#313942;--card:#1a2027;
--reference:#56616e;--window:#7ab4ff;--alarm:#ff9d94;--alarm-bg:#3a1a18;--warn:#ffc566;--warn-bg:#38290f;
--calm:#7fdb9c;--calm-bg:#122e1c;--unsure:#c0c8d1;--unsure-bg:#242b33}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:1080px;margin:0 auto;padding:32px 20px 48px}
h1{font-size:1.7rem;line-height:1.2;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.2rem 0 .5rem}
p{margin:.4rem 0}.subtitle,footer,caption,.faint{color:var(--soft)}
.subtitle{margin-top:.3rem}
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
thead th{color:var(--soft);font-weight:600;white-space:nowrap;vertical-align:bottom}
td.right,th.right{text-align:right;white-space:nowrap}
td small{display:block;color:var(--soft);font-weight:400;max-width:34em;white-space:normal}
td.alarm{color:var(--alarm);font-weight:600}td.warn{color:var(--warn);font-weight:600}td.calm{color:var(--calm)}
td.unsure,td.faint{color:var(--soft)}
a{color:inherit;text-decoration:underline;text-decoration-color:var(--soft);text-underline-offset:3px}
a:focus-visible{outline:2px solid var(--window);outline-offset:2px}
.barred{white-space:nowrap}.bar{display:inline-block;width:64px;height:8px;margin-right:8px;border-radius:4px;vertical-align:middle;
background:linear-gradient(to right,var(--window) var(--part),var(--line) var(--part));print-color-adjust:exact;
-webkit-print-color-adjust:exact}
.legend{font-size:.9rem;color:var(--soft)}
.key{display:inline-block;width:14px;height:14px;margin:0 6px 0 0;vertical-align:-2px}
.key+.key,.legend .window{margin-left:18px}
.key.reference{background:var(--reference)}.key.window{border:2px solid var(--window);background:none}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(300px,100%),1fr));gap:16px;align-items:start}
figure{margin:0;padding:12px 14px 8px;background:var(--card);border:1px solid var(--line);border-radius:8px;
break-inside:avoid;min-width:0}
figure p{font-size:.85rem;color:var(--soft);margin:.2rem 0}
figcaption{display:flex;justify-content:space-between;gap:10px;align-items:baseline;margin-bottom:4px;
overflow-wrap:anywhere}
.mark{font-size:.8rem;white-space:nowrap;color:var(--soft)}.mark.alarm{color:var(--alarm);font-weight:600}
.mark.warn{color:var(--warn);font-weight:600}
svg{display:block;width:100%;height:auto}
svg .grid{stroke:var(--line);stroke-width:1}svg .axis{stroke:var(--soft);stroke-width:1}
svg .tick{fill:var(--soft);font-size:10.5px;font-family:inherit}
svg .reference{fill:var(--reference)}svg .window{fill:var(--window);fill-opacity:.13;stroke:var(--window);
stroke-width:1.8;stroke-linejoin:round}
svg .window.solid{fill-opacity:1;stroke:none}
.heat{width:auto}.heat td,.heat th{padding:6px 12px}.heat thead th{text-align:center}
.heat tbody td{text-align:center;background:color-mix(in srgb,var(--alarm-bg) var(--heat),transparent);min-width:82px}
.heat td.none{background:none}
ul{padding-left:1.2rem;margin:.4rem 0}li{margin:.25rem 0}
footer{margin-top:2.6rem;padding-top:12px;border-top:1px solid var(--line);font-size:.85rem}
@media (max-width:520px){main{padding:20px 14px 36px}h1{font-size:1.4rem}.verdict h2{font-size:1.2rem}}
@media print{body{font-size:11pt}main{max-width:none;padding:0}.scroll{overflow:visible}h2{break-after:avoid}
tr{break-inside:avoid}
.verdict{print-color-adjust:exact;-webkit-print-color-adjust:exact}svg,.key{print-color-adjust:exact;
-webkit-print-color-adjust:exact}}
"""
