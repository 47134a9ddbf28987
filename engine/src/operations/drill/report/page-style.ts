/** How reports look, on the screen and on paper. */

/** `foot`: text at the bottom of each printed page. */
export function pageStyle(foot: string): string {
  const content = foot.replace(/[\\"\n<]/g, ' ');
  return `@page { size: A4; margin: 17mm 16mm 19mm;
  @bottom-left { content: "${content}"; font: 7.5pt ${sans}; color: #5c6773; }
  @bottom-right { content: counter(page) " / " counter(pages); font: 7.5pt ${sans}; color: #5c6773; } }
${rules}`;
}

const sans = '"Inter", "Segoe UI", "Helvetica Neue", "Liberation Sans", Arial, sans-serif';

const rules = `:root { color-scheme: light; --ink: #18222d; --soft: #5c6773; --rule: #dbe1e7; --faint: #f5f7f9;
  --good: #17633f; --good-bg: #e9f4ee; --bad: #9c1f1f; --bad-bg: #fbecec; --open: #7d5200; --open-bg: #fbf3e0; --brand: #1c4e6b; }
* { box-sizing: border-box; }
html { background: #eceff2; }
body { margin: 0; color: var(--ink); font: 14px/1.5 ${sans}; font-variant-numeric: tabular-nums;
  -webkit-print-color-adjust: exact; print-color-adjust: exact; }
main { max-width: 860px; margin: 28px auto; padding: 44px 52px 52px; background: #fff; border: 1px solid var(--rule); border-radius: 3px; }
p { margin: 0 0 10px; }
.brand { margin: 0 0 14px; color: var(--brand); font-size: 11px; font-weight: 700; letter-spacing: .16em; text-transform: uppercase; }
.top { display: flex; gap: 24px; justify-content: space-between; align-items: flex-start; padding-bottom: 18px; border-bottom: 2px solid var(--ink); }
h1 { margin: 0; font-size: 27px; line-height: 1.2; font-weight: 650; letter-spacing: -.01em; }
.sub { margin: 6px 0 0; color: var(--soft); overflow-wrap: anywhere; }
.verdict { margin: 2px 0 0; padding: 7px 16px; border: 1.5px solid currentColor; border-radius: 3px; font-weight: 700; white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); } .open { color: var(--open); }
.verdict.good { background: var(--good-bg); } .verdict.bad { background: var(--bad-bg); } .verdict.open { background: var(--open-bg); }
.lead { margin: 18px 0; font-size: 16px; }
.figures { display: grid; grid-template-columns: repeat(4, 1fr); margin: 0 0 8px; border: 1px solid var(--rule); border-radius: 3px; }
.figures > div { padding: 12px 14px 11px; border-left: 1px solid var(--rule); }
.figures > div:first-child { border-left: 0; }
.figures dt { color: var(--soft); font-size: 12px; }
.figures dd { margin: 2px 0 0; font-size: 20px; font-weight: 650; line-height: 1.25; }
.figures small { display: block; margin-top: 3px; color: var(--soft); font-size: 12px; font-weight: 400; line-height: 1.35; }
section { margin-top: 30px; }
h2 { margin: 0 0 10px; padding-bottom: 5px; border-bottom: 1px solid var(--rule); font-size: 16px; font-weight: 650; }
h2 span { display: inline-block; min-width: 26px; color: var(--soft); font-weight: 400; }
table { width: 100%; margin: 0 0 12px; border-collapse: collapse; font-size: 13px; }
th, td { padding: 6px 12px 6px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); overflow-wrap: anywhere; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-size: 12px; font-weight: 600; border-bottom-color: #b9c2cb; }
tbody tr:last-child > * { border-bottom: 0; }
.facts th { width: 210px; color: var(--soft); font-weight: 400; }
thead th { overflow-wrap: normal; }
.fixed { table-layout: fixed; }
.fixed .mark { white-space: normal; }
.right + :not(.right) { padding-left: 14px; }
.right { text-align: right; white-space: nowrap; }
.mark { font-weight: 600; white-space: nowrap; }
.facts .mark { white-space: normal; }
.mark::before { content: ""; display: inline-block; width: 7px; height: 7px; margin: 0 7px 1px 0; border-radius: 50%; background: currentColor; }
.mark.open::before { background: none; box-shadow: inset 0 0 0 1.5px currentColor; }
.mark.bad::before { border-radius: 0; }
code, pre { font: 12px/1.5 ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", "Liberation Mono", monospace; }
code { overflow-wrap: anywhere; white-space: pre-wrap; }
pre { margin: 0 0 10px; padding: 10px 12px; background: var(--faint); border: 1px solid var(--rule); border-radius: 3px; white-space: pre-wrap; overflow-wrap: anywhere; }
ul { margin: 0 0 12px; padding-left: 18px; } li { margin: 3px 0; }
.bar { display: block; min-width: 120px; height: 9px; margin-top: 6px; background: var(--faint); }
.bar span { display: block; height: 100%; background: #7d9bb0; }
.muted { color: var(--soft); font-size: 12px; }
.signs { display: grid; grid-template-columns: 1fr 1fr; gap: 48px; }
.signs p { margin: 0; } .signs .line { height: 46px; margin-bottom: 6px; border-bottom: 1px solid var(--ink); }
@media (max-width: 640px) { main { margin: 0; padding: 24px 18px; border: 0; } .top { display: block; } .verdict { display: inline-block; margin-top: 12px; }
  .figures { grid-template-columns: 1fr 1fr; } .figures > div:nth-child(odd) { border-left: 0; } .figures > div:nth-child(n+3) { border-top: 1px solid var(--rule); } .facts th { width: 38%; } }
@media print { html { background: #fff; } body { font-size: 9.5pt; } main { max-width: none; margin: 0; padding: 0; border: 0; }
  h1 { font-size: 19pt; } h2 { font-size: 11.5pt; break-after: avoid; } .lead { font-size: 11pt; } table { font-size: 8.8pt; } code, pre { font-size: 8pt; }
  section { margin-top: 16pt; } tr, pre, li, .figures, .sign { break-inside: avoid; } thead { display: table-header-group; } p { orphans: 3; widows: 3; } }
`;
