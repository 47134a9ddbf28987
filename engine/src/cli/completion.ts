/** Shell completion, made from the table of verbs. */
import { globalOptions } from './program.ts';
import type { Verb } from './verb.ts';

export const shells = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof shells)[number];

function longFlags(verb: Verb): string[] {
  return [...(verb.options ?? []), ...globalOptions].flatMap(({ flags }) => flags.match(/--[a-z-]+/g) ?? []);
}

export function completionScript(shell: Shell, verbs: readonly Verb[]): string {
  const firsts = [...new Set(verbs.map((verb) => verb.name.split(' ')[0]!))];
  if (shell === 'fish') return fish(verbs, firsts);
  const cases: string[] = [];
  for (const verb of verbs)
    if (verb.name.includes(' ')) cases.push(`    "${verb.name}") words="${longFlags(verb).join(' ')}" ;;`);
  for (const first of firsts) {
    const own = verbs.find((verb) => verb.name === first);
    const flags = own ? longFlags(own) : [];
    cases.push(`    "${first}") words="${[...secondsOf(verbs, first), ...flags].join(' ')}" ;;`);
    // What follows is no sub-verb, but an argument of the verb.
    if (own) cases.push(`    "${first} "*) words="${flags.join(' ')}" ;;`);
  }
  const groups = firsts.filter((first) => secondsOf(verbs, first).length > 0);
  // biome-ignore-start lint/suspicious/noTemplateCurlyInString: that is shell
  const body = [
    '_helvino() {',
    '  local cur words verb',
    '  cur="${COMP_WORDS[COMP_CWORD]}"',
    '  verb="${COMP_WORDS[1]}"',
    '  [ "$COMP_CWORD" -gt 2 ] && [[ "$verb" =~ ^(' +
      groups.join('|') +
      ')$ ]] && verb="$verb ${COMP_WORDS[2]}"',
    '  if [ "$COMP_CWORD" -eq 1 ]; then',
    `    words="${firsts.join(' ')} --help --version"`,
    '  else case "$verb" in',
    ...cases,
    '    *) words="" ;;',
    '  esac; fi',
    '  COMPREPLY=($(compgen -W "$words" -- "$cur"))',
    '  [ ${#COMPREPLY[@]} -eq 0 ] && COMPREPLY=($(compgen -f -- "$cur"))',
    '}',
    'complete -F _helvino helvino',
  ];
  // biome-ignore-end lint/suspicious/noTemplateCurlyInString: that is shell
  const before = shell === 'zsh' ? ['autoload -U +X bashcompinit && bashcompinit'] : [];
  return [...before, ...body].join('\n');
}

function secondsOf(verbs: readonly Verb[], first: string): string[] {
  return verbs.flatMap((verb) => (verb.name.startsWith(`${first} `) ? [verb.name.split(' ')[1]!] : []));
}

function fish(verbs: readonly Verb[], firsts: readonly string[]): string {
  const lines = ['complete -c helvino -f'];
  for (const first of firsts) {
    const summary = verbs.find((verb) => verb.name === first)?.summary ?? first;
    lines.push(`complete -c helvino -n __fish_use_subcommand -a ${first} -d '${quote(summary)}'`);
  }
  for (const verb of verbs) {
    const [first, second] = verb.name.split(' ');
    const seen =
      second === undefined
        ? `__fish_seen_subcommand_from ${first}`
        : `__fish_seen_subcommand_from ${first}; and __fish_seen_subcommand_from ${second}`;
    if (second !== undefined)
      lines.push(
        `complete -c helvino -n '__fish_seen_subcommand_from ${first}' -a ${second} -d '${quote(verb.summary)}'`,
      );
    for (const flag of longFlags(verb)) lines.push(`complete -c helvino -n '${seen}' -l ${flag.slice(2)}`);
  }
  return lines.join('\n');
}

function quote(text: string): string {
  return text.replaceAll("'", "\\'");
}
