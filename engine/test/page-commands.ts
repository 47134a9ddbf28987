/** The commands of helvino in the shell blocks of a page. */
export function commandsOf(text: string): string[] {
  return [...text.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap((match) =>
    match[1]!
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line.startsWith('npx helvino ')),
  );
}
