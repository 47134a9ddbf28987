/** In which order tables come, so that what is referred to comes first; cycles stay together (Tarjan's algorithm). */

import { emptiable } from './row-sql.ts';
import type { ReferenceModel, SchemaModel, TableId } from './schema-model.ts';

/**
 * Tables that are referred to first. In a cycle those come first that others cannot do without: a reference that can be
 * deferred, or be NULL at first, waits for no one.
 */
export function inReferenceOrder(model: SchemaModel, ids: readonly TableId[]): TableId[] {
  const edges = (references: readonly ReferenceModel[]) => {
    const parents = new Map<TableId, TableId[]>();
    for (const { child, parent } of references) parents.set(child, [...(parents.get(child) ?? []), parent]);
    return parents;
  };
  const hard = edges(
    model.references.filter((reference) => reference.enforced && !canWait(model, reference)),
  );
  const within = (group: readonly TableId[]) =>
    new Map(group.map((id) => [id, (hard.get(id) ?? []).filter((parent) => group.includes(parent))]));
  const known = new Set(ids);
  return groupsInOrder(ids, edges(model.references))
    .flatMap((group) => (group.length === 1 ? group : groupsInOrder(group, within(group)).flat()))
    .filter((id) => known.has(id));
}

function canWait(
  { tables }: SchemaModel,
  { child, childColumns, deferrable, onDelete }: ReferenceModel,
): boolean {
  const table = tables.get(child);
  // ON DELETE RESTRICT never waits, so that its rows can go only in this order.
  if ((deferrable && onDelete !== 'r') || !table) return true;
  return table.key !== undefined && emptiable(table, childColumns).length > 0;
}

/** Groups of nodes that reach one another, each after all groups that it points to. `edges`: node → what it points to. */
export function groupsInOrder(
  nodes: Iterable<string>,
  edges: ReadonlyMap<string, readonly string[]>,
): string[][] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const open: string[] = [];
  const inOpen = new Set<string>();
  const groups: string[][] = [];
  // Without recursion: a chain of references may be as long as there are tables.
  for (const start of nodes) {
    if (index.has(start)) continue;
    const work: { readonly node: string; next: number }[] = [{ node: start, next: 0 }];
    while (work.length > 0) {
      const at = work.at(-1)!;
      if (at.next === 0) {
        index.set(at.node, index.size);
        low.set(at.node, index.get(at.node)!);
        open.push(at.node);
        inOpen.add(at.node);
      }
      const to = (edges.get(at.node) ?? [])[at.next++];
      if (to !== undefined) {
        if (!index.has(to)) work.push({ node: to, next: 0 });
        else if (inOpen.has(to)) low.set(at.node, Math.min(low.get(at.node)!, index.get(to)!));
        continue;
      }
      work.pop();
      const below = work.at(-1);
      if (below) low.set(below.node, Math.min(low.get(below.node)!, low.get(at.node)!));
      if (low.get(at.node) !== index.get(at.node)) continue;
      const group = open.splice(open.indexOf(at.node));
      for (const node of group) inOpen.delete(node);
      groups.push(group);
    }
  }
  return groups;
}
