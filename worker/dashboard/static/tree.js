// The actions of a run as rows: a tree, siblings in the order in which they were created, in which many equal siblings are one row until it is opened.

import { ended } from "./format.js";

const MANY = 12; // equal siblings of which one row is made

const natural = new Intl.Collator("en", { numeric: true }); // m2 before m10

export class Tree {
  constructor() {
    this.actions = new Map();
    this.children = new Map();
    this.grown = new Set(); // parents whose children are to be put in order
    this.open = new Map(); // key → whether it was opened or closed by hand
    this.rows = [];
  }

  put(action) {
    const known = this.actions.get(action.name);
    this.actions.set(action.name, action);
    if (known) return;
    if (!this.children.has(action.parent)) this.children.set(action.parent, []);
    this.children.get(action.parent).push(action.name);
    this.grown.add(action.parent);
  }

  // Takes what was told in short: the rest is read when the row is seen. Tells whether the action is known.
  patch([name, phase, attempt, at, began, over, error]) {
    const known = this.actions.get(name);
    if (!known) return false;
    const first = known.attempt === attempt && known.began ? known.began : began;
    const last = over ? at : 0;
    const bars = [["waits", known.created, first || last, attempt], ...(first ? [["runs", first, last, attempt]] : [])];
    this.actions.set(name, { ...known, phase, attempt, began: first, ended: last, error, bars, brief: true });
    return true;
  }

  // Gives the rows the actions as they are known now; which rows there are stays.
  refresh() {
    for (const row of this.rows) if (row.action) row.action = this.actions.get(row.action.name);
  }

  toggle(key, wanted) {
    const row = this.rows.find((one) => one.key === key);
    if (!row || !row.kids) return;
    this.open.set(key, wanted === undefined ? !row.opened : wanted);
  }

  // Makes the rows anew. `fits` chooses actions: then there is no tree, only what fits.
  layout(fits) {
    this.rows = [];
    if (fits) {
      for (const action of this.actions.values()) if (fits(action)) this.rows.push(this.single(action, 0));
      return this.rows;
    }
    this.below("", 0);
    for (const parent of this.children.keys())
      if (parent && !this.actions.has(parent)) this.below(parent, 0); // their parent is not read yet
    return this.rows;
  }

  single(action, level) {
    const kids = this.children.get(action.name)?.length || 0;
    const key = `a:${action.name}`;
    return { key, action, level, kids, opened: kids > 0 && (this.open.get(key) ?? true) };
  }

  below(parent, level) {
    const groups = new Map();
    const names = this.children.get(parent) || [];
    if (this.grown.delete(parent)) names.sort((one, other) => this.actions.get(one).created - this.actions.get(other).created || natural.compare(one, other));
    const sorted = ({ name, task, phase }) => (this.children.has(name) ? name : `${task}\n${phase}`);
    for (const name of names) {
      const action = this.actions.get(name);
      const sort = sorted(action);
      if (!groups.has(sort)) groups.set(sort, []);
      groups.get(sort).push(action);
    }
    for (const action of names.map((name) => this.actions.get(name))) {
      const members = groups.get(sorted(action));
      if (members.length <= MANY) this.with(action, level);
      else if (members[0] === action) this.group(parent, sorted(action), members, level);
    }
  }

  with(action, level) {
    const row = this.single(action, level);
    this.rows.push(row);
    if (row.opened) this.below(action.name, level + 1);
  }

  group(parent, sort, members, level) {
    const key = `g:${parent}/${sort}`;
    const opened = this.open.get(key) ?? false;
    this.rows.push({ key, group: members, level, kids: members.length, opened, total: together(members) });
    if (opened) for (const one of members) this.rows.push(this.single(one, level + 1));
  }

  // The actions that decided when the root ended: of each the child that ended last.
  critical() {
    const marked = new Set();
    let name = [...(this.children.get("") || [])][0];
    while (name && !marked.has(name)) {
      marked.add(name);
      const kids = (this.children.get(name) || []).map((kid) => this.actions.get(kid));
      name = kids.reduce((last, kid) => (!last || end(kid) > end(last) ? kid : last), null)?.name;
    }
    return marked;
  }
}

const end = (action) => action.ended || Infinity;

function together(members) {
  const first = members.reduce((least, one) => Math.min(least, one.created), Infinity);
  const began = members.reduce((least, one) => (one.began ? Math.min(least, one.began) : least), Infinity);
  const over = members.every((one) => ended(one.phase));
  const last = over ? members.reduce((most, one) => Math.max(most, one.ended), 0) : 0;
  return { task: members[0].task, phase: members[0].phase, created: first, began: began === Infinity ? 0 : began, ended: last };
}
