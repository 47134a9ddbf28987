/**
 * A report as one page of HTML: no scripts, nothing from outside, light, made for paper (A4) as for the screen. Pure. What
 * comes from a database is text, never markup.
 */
import type { SignedReport } from './document.ts';
import { pageStyle } from './page-style.ts';
import { type Block, type Cell, type ReportView, type Retest, reportView, visible } from './view.ts';

export function reportHtml(signed: SignedReport, retests: readonly Retest[] = []): string {
  const view = reportView(signed, retests);
  return htmlPage({
    title: `${view.title} ${view.id}: ${view.verdict.word}`,
    head: header(view),
    sections: view.sections,
    tail: signOff(view),
    foot: `Helvino restore drill report ${view.id} · record SHA-256 ${view.sha256.slice(0, 16)}…`,
  });
}

export interface Page {
  readonly title: string;
  /** Markup. */
  readonly head: string;
  readonly sections: ReportView['sections'];
  /** Markup. */
  readonly tail: string;
  /** At the bottom of each printed page. */
  readonly foot: string;
}

export function htmlPage({ title, head, sections, tail, foot }: Page): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light">
<title>${escapeHtml(title)}</title>
<style>
${pageStyle(foot)}</style>
</head>
<body>
<main>
${head}
${sections.map(({ title: name, blocks }, i) => `<section>\n<h2><span>${i + 1}</span>${escapeHtml(name)}</h2>\n${blocks.map(markup).join('\n')}\n</section>`).join('\n')}
${tail}
</main>
</body>
</html>
`;
}

function header({ title, subtitle, verdict, figures }: ReportView): string {
  return `<header>
<p class="brand">Helvino</p>
<div class="top"><div><h1>${escapeHtml(title)}</h1>
<p class="sub">${escapeHtml(subtitle)}</p></div>
<p class="verdict ${verdict.tone}">${escapeHtml(verdict.word)}</p></div>
<p class="lead">${escapeHtml(verdict.sentence)}</p>
${figureRow(figures)}
</header>`;
}

export function figureRow(figures: ReportView['figures']): string {
  const items = figures.map(
    ({ label, value, note, tone }) =>
      `<div class="${tone}"><dt>${escapeHtml(label)}</dt><dd>${escapeHtml(value)}<small>${escapeHtml(note)}</small></dd></div>`,
  );
  return `<dl class="figures">\n${items.join('\n')}\n</dl>`;
}

function signOff({ operator, approver }: ReportView): string {
  const line = (role: string, name: string | undefined) =>
    `<div><p class="line"></p><p>${role}${name ? `: ${escapeHtml(name)}` : ''}</p><p class="muted">Signature and date</p></div>`;
  return `<section class="sign"><h2>Sign-off</h2><div class="signs">${line('Operator', operator)}${line('Approver', approver)}</div></section>`;
}

function markup(block: Block): string {
  switch (block.kind) {
    case 'text':
      return `<p>${escapeHtml(block.text)}</p>`;
    case 'list':
      return `<ul>\n${block.items.map((item) => `<li>${escapeHtml(item)}</li>`).join('\n')}\n</ul>`;
    case 'code':
      return `<pre>${escapeHtml(block.text)}</pre>`;
    case 'facts':
      return `<table class="facts">\n<tbody>\n${block.rows
        .map(
          ([name, value]) => `<tr><th scope="row">${escapeHtml(name)}</th><td>${cellMarkup(value)}</td></tr>`,
        )
        .join('\n')}\n</tbody>\n</table>`;
    case 'table': {
      const fixed = block.head.some(({ width }) => width !== undefined);
      const classes = block.head.map(({ right }) => (right ? ' class="right"' : ''));
      const head = block.head.map(
        ({ title, width }, i) =>
          `<th scope="col"${classes[i]}${width ? ` style="width:${width}%"` : ''}>${escapeHtml(title)}</th>`,
      );
      const rows = block.rows.map(
        (row) => `<tr>${row.map((value, i) => `<td${classes[i]}>${cellMarkup(value)}</td>`).join('')}</tr>`,
      );
      return `<table${fixed ? ' class="fixed"' : ''}>\n<thead><tr>${head.join('')}</tr></thead>\n<tbody>\n${rows.join('\n')}\n</tbody>\n</table>`;
    }
  }
}

function cellMarkup({ text, tone, code, part }: Cell): string {
  if (part !== undefined)
    return `<span class="bar"><span style="width:${Math.max(1, Math.round(part * 100))}%"></span></span>`;
  if (code) return `<code>${escapeHtml(text)}</code>`;
  return tone && tone !== 'plain'
    ? `<span class="mark ${tone}">${escapeHtml(text)}</span>`
    : escapeHtml(text);
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

export function escapeHtml(text: string): string {
  return visible(text).replace(/[&<>"']/g, (char) => entities[char]!);
}
