/**
 * The recovery kit: one page, to be printed and kept where neither the host nor the store is, with what is needed to
 * restore when nothing else is left. Pure: facts in, HTML out.
 */
import { shellWord } from '../../base/format.ts';

export interface KitFacts {
  /** ISO 8601. */
  readonly made: string;
  readonly repositoryId: string;
  /** `/var/backups/helvino`, `s3://bucket/prefix`. */
  readonly place: string;
  readonly format: number;
  readonly recipients: readonly string[];
  /** Ids of the catalog keys, newest first. */
  readonly catalogKeyIds: readonly string[];
  readonly databases: readonly { name: string; backups: number; newest?: string; postgres?: string }[];
  /** The recovery identity itself, if the user wants it on the page. */
  readonly identity?: string;
  readonly program: string;
  /** A git address, or the file of a package; undefined: to be written on the page by hand. */
  readonly source?: string | undefined;
}

export function renderKit(kit: KitFacts): string {
  const rows = kit.databases.map(
    (d) =>
      `<tr><td>${text(d.name)}</td><td>${d.backups}</td><td>${text(d.newest ?? 'none yet')}</td><td>${text(d.postgres ?? '')}</td></tr>`,
  );
  const place = text(shellWord(kit.place));
  const identity = kit.identity
    ? `<pre class="key">${text(kit.identity)}</pre><p><strong>Whoever has this line can read every backup.</strong> Keep the page locked away.</p>`
    : `<pre class="key">&nbsp;\n&nbsp;</pre><p>Write or glue the line that begins with AGE-SECRET-KEY-1 here, or say where it is kept.</p>`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Helvino recovery kit</title>
<style>
body{font:11pt/1.45 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#111;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:1.6rem}pre{background:#f3f3f3;padding:.6rem;white-space:pre-wrap;overflow-wrap:anywhere}
.key{font-size:1.05rem;border:2px solid #111;background:#fff}table{border-collapse:collapse}td,th{text-align:left;padding:.2rem .8rem .2rem 0;border-bottom:1px solid #ccc}
@media print{body{margin:0;max-width:none}h2{break-after:avoid}pre,table{break-inside:avoid}}
</style></head><body>
<h1>Helvino recovery kit</h1>
<p>Made ${text(kit.made)} by Helvino ${text(kit.program)}. With this page and a copy of the repository everything comes back; the host that
made the backups is not needed.</p>
<h2>1. The repository</h2>
<table><tr><th>place</th><td>${text(kit.place)}</td></tr><tr><th>id</th><td>${text(kit.repositoryId)}</td></tr>
<tr><th>format</th><td>${kit.format}</td></tr><tr><th>recipients</th><td>${kit.recipients.map(text).join('<br>')}</td></tr>
<tr><th>catalog keys</th><td>${kit.catalogKeyIds.map(text).join('<br>')} (sealed in the repository)</td></tr></table>
<table><tr><th>database</th><th>backups</th><th>newest</th><th>PostgreSQL</th></tr>${rows.join('')}</table>
<h2>2. The recovery identity</h2>
${identity}
<h2>3. Restore</h2>
<p>On a machine with Node.js 20 or newer and npm, with the recovery identity in the file <code>identity.txt</code>:</p>
${gettingHelvino(kit.source)}
<pre>npx helvino list --repository-path ${place} --identity identity.txt
npx helvino restore --repository-path ${place} --identity identity.txt --database NAME --to-directory /srv/restored
npx helvino drill --repository-path ${place} --identity identity.txt --database NAME</pre>
<p>The last line proves a backup without touching anything else. To put the catalog key back on a new host:</p>
<pre>npx helvino key catalog --repository-path ${place} --identity identity.txt &gt; helvino.catalog.key</pre>
<h2>4. If Helvino itself is gone</h2>
<p>The format is documented in <code>docs/design/repository-format.md</code>: age (X25519), HKDF-SHA-256, AES-256-GCM and zstd. The identity
opens <code>keys/</code>, the keys open <code>backups/</code> and <code>packs/</code>.</p>
</body></html>
`;
}

function gettingHelvino(source: string | undefined): string {
  if (source === undefined)
    return `<p>Helvino itself comes from (a git address, or the file that <code>npm pack -w engine</code> made):</p><pre class="key">&nbsp;</pre>`;
  const word = text(shellWord(source));
  const command = source.endsWith('.tgz')
    ? `npm install ${word}`
    : `git clone -- ${word} helvino &amp;&amp; cd helvino &amp;&amp; npm ci`;
  return `<pre>${command}</pre>`;
}

function text(value: string): string {
  return value
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
