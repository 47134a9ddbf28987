// Makes docs/demo.svg, the screenshot of the README, from what `helvino demo` really prints.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(fileURLToPath(import.meta.url), '..', '..');
const output = execFileSync(process.execPath, [join(root, 'engine/bin/helvino.mjs'), 'demo', '--quiet'], {
  encoding: 'utf8',
});
const lines = ['$ npx helvino demo', ...output.replaceAll(root, '…').trimEnd().split('\n')].map((line) =>
  line.slice(0, 118),
);
const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const height = lines.length * 18 + 40;
const rows = lines.map((line, i) => {
  const colour = line.startsWith('passed')
    ? '#7ee2a8'
    : line.startsWith('PROVEN')
      ? '#ffffff'
      : line.startsWith('$')
        ? '#9ec7ff'
        : '#d7dde5';
  const weight = line.startsWith('PROVEN') ? ' font-weight="bold"' : '';
  return `<text x="24" y="${38 + i * 18}" fill="${colour}"${weight} xml:space="preserve">${escaped(line)}</text>`;
});
writeFileSync(
  join(root, 'docs', 'demo.svg'),
  `<svg xmlns="http://www.w3.org/2000/svg" width="960" height="${height}" viewBox="0 0 960 ${height}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13" role="img" aria-label="Output of helvino demo"><rect width="960" height="${height}" rx="10" fill="#171b21"/>${rows.join('')}</svg>\n`,
);
