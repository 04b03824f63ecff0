'use strict';
(() => {
const SVG = 'http://www.w3.org/2000/svg';
const MINUTES = 3;
const FIRST_ROWS = 100;
const $ = (id) => document.getElementById(id);
const first = JSON.parse($('data').textContent);

/* Everything that a site or a job server says goes through here, as text. */
function make(name, text, attributes) {
  const it = document.createElement(name);
  if (text !== undefined && text !== null) it.textContent = text;
  for (const [key, value] of Object.entries(attributes || {})) it.setAttribute(key, value);
  return it;
}
function write(it, text) {
  if (it.textContent !== text) it.textContent = text;
}

const number = new Intl.NumberFormat('en');
const NONE = '–';
const count = (n) => (n === null || n === undefined ? NONE : number.format(n));
const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;
function age(ms) {
  if (ms === null || ms === undefined) return NONE;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  const parts = (big, small, size, a, b) => {
    const [whole, rest] = [Math.floor(big), Math.floor(small % size)];
    return rest ? `${whole} ${a} ${rest} ${b}` : `${whole} ${a}`;
  };
  if (s < 3600) return parts(s / 60, s, 60, 'min', 's');
  if (s < 86400) return parts(s / 3600, s / 60, 60, 'h', 'min');
  return parts(s / 86400, s / 3600, 24, 'd', 'h');
}
function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return NONE;
  if (perSecond === 0) return '0/s';
  if (perSecond < 0.1) return `${(perSecond * 60).toFixed(1)}/min`;
  return `${perSecond < 10 ? perSecond.toFixed(1) : count(Math.round(perSecond))}/s`;
}
function clock(ms) {
  const at = new Date(ms);
  const time = at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString()} ${time}`;
}

/* The last minutes: the server's, and then what comes live. */
const points = first.history.map((p) => ({ at: p.at, sites: new Map(Object.entries(p.sites)) }));
function remember(status) {
  const at = Date.parse(status.at);
  if (points.length && points[points.length - 1].at >= at) return;
  const sites = new Map(status.sites.map((s) => [s.site, [0, 0, s.done_ever]]));
  for (const q of status.queues) {
    const of = sites.get(q.site) || sites.set(q.site, [0, 0, null]).get(q.site);
    of[0] += q.waiting;
    of[1] += q.running;
  }
  points.push({ at, sites });
  while (points[0].at < at - MINUTES * 60000) points.shift();
}
const sum = (p, at) => [...p.sites.values()].reduce((all, of) => all + (of[at] || 0), 0);
const series = (value) => points.map((p) => [p.at, value(p)]).filter(([, v]) => v !== null && v !== undefined);
/* Jobs a second between two points; a counter that falls began anew. */
function rates(value) {
  const all = series(value);
  return all.slice(1).map(([at, n], i) => {
    const [before, was] = all[i];
    return [at, n >= was && at > before ? (n - was) * 1000 / (at - before) : 0];
  });
}
/* Over the last half minute, so that it does not jump. */
function rateNow(value) {
  const all = series(value);
  if (all.length < 2) return null;
  const [end, n] = all[all.length - 1];
  const [at, was] = all.find(([t]) => t >= end - 30000);
  return end > at && n >= was ? (n - was) * 1000 / (end - at) : null;
}

function chart(svg, values, label, shape) {
  const end = points.length ? points[points.length - 1].at : 0;
  const most = Math.max(1e-9, ...values.map(([, v]) => v));
  const [width, height] = shape;
  const x = ([at]) => ((at - end) / (MINUTES * 60000) + 1) * width;
  const y = ([, v]) => height - 1 - (v / most) * (height - 3);
  // What was seen within a moment is no line.
  const moment = !values.length || values[values.length - 1][0] - values[0][0] < 3000;
  const line = moment ? '' : values.map((p, i) => `${i ? 'L' : 'M'}${x(p).toFixed(1)} ${y(p).toFixed(1)}`).join('');
  const area = line ? `${line}L${width} ${height}L${x(values[0]).toFixed(1)} ${height}Z` : '';
  if (!svg.firstChild) {
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('role', 'img');
    for (const kind of ['area', 'line']) {
      const path = document.createElementNS(SVG, 'path');
      path.setAttribute('class', kind);
      svg.append(path);
    }
  }
  svg.setAttribute('aria-label', label);
  svg.firstChild.setAttribute('d', area);
  svg.lastChild.setAttribute('d', line);
}

/* The numbers at the top. */
const cards = new Map();
function card(key, title, value, more, tone, values, label) {
  let it = cards.get(key);
  if (!it) {
    it = { box: make('div', null, { class: 'card' }), number: make('dd', null, { class: 'number' }), more: make('dd', null, { class: 'more' }), chart: make('dd', null, { class: 'chart' }) };
    it.box.append(make('dt', title), it.number, it.more);
    if (values) {
      it.svg = it.chart.appendChild(document.createElementNS(SVG, 'svg'));
      it.box.append(it.chart);
    }
    $('cards').append(it.box);
    cards.set(key, it);
  }
  it.box.className = `card ${tone}`;
  it.number.id = key;
  write(it.number, value);
  write(it.more, more);
  if (values) chart(it.svg, values, label, [240, 38]);
}

/* Tables keep their rows, so that nothing that is read, selected or focused goes away. */
class Table {
  constructor(id, columns, empty) {
    Object.assign(this, { id, columns, rows: new Map(), sort: null, all: false });
    this.empty = make('p', empty, { class: 'empty' });
    this.table = make('table', null, { role: 'table', 'aria-labelledby': `${id}-head` });
    const head = this.table.appendChild(make('thead', null, { role: 'rowgroup' })).appendChild(make('tr', null, { role: 'row' }));
    columns.forEach((column, at) => {
      const cell = head.appendChild(make('th', null, { scope: 'col', role: 'columnheader', class: column.num ? 'num' : '' }));
      if (!column.by) return write(cell, column.head);
      cell.append(make('button', column.head, { type: 'button', ...(column.label && { 'aria-label': column.label }) }));
      cell.firstChild.addEventListener('click', () => {
        const down = this.sort && this.sort.at === at ? !this.sort.down : Boolean(column.num);
        this.sort = { at, down };
        [...head.children].forEach((th) => th.removeAttribute('aria-sort'));
        cell.setAttribute('aria-sort', down ? 'descending' : 'ascending');
        this.draw();
      });
    });
    this.body = this.table.appendChild(make('tbody', null, { role: 'rowgroup' }));
    this.rest = make('p', null, { class: 'rest', hidden: '' });
    this.restText = this.rest.appendChild(make('span'));
    this.rest.append(' ');
    this.rest.appendChild(make('button', 'Show all', { type: 'button' })).addEventListener('click', () => {
      this.all = true;
      this.draw();
    });
    const panel = make('div', null, { class: 'panel' });
    panel.append(this.table, this.empty, this.rest);
    $(id).append(panel);
    this.filter = $(`${id}-filter`);
    if (this.filter) this.filter.addEventListener('input', () => this.draw());
  }
  show(items, total) {
    this.items = items;
    write($(`${this.id}-count`), total === undefined ? count(items.length) : total);
    if (this.filter) this.filter.parentNode.hidden = items.length <= 12 && !this.filter.value;
    this.draw();
  }
  draw() {
    let items = this.items;
    const wanted = this.filter ? this.filter.value.trim().toLowerCase() : '';
    if (wanted) items = items.filter((it) => it.words.toLowerCase().includes(wanted));
    if (this.sort) {
      const { by } = this.columns[this.sort.at];
      const down = this.sort.down ? -1 : 1;
      const order = (a, b) => (typeof a === 'number' || typeof b === 'number' ? (a ?? -1) - (b ?? -1) : String(a ?? '').localeCompare(String(b ?? '')));
      items = [...items].sort((a, b) => down * order(by(a), by(b)));
    }
    const shown = this.all ? items : items.slice(0, FIRST_ROWS);
    this.table.hidden = !this.items.length;
    this.empty.hidden = this.items.length > 0;
    this.rest.hidden = shown.length === items.length && shown.length > 0 || !this.items.length;
    write(this.restText, shown.length ? `${count(shown.length)} of ${count(items.length)} are shown.` : 'Nothing matches.');
    this.rest.lastChild.hidden = shown.length === items.length;
    const before = this.rows;
    this.rows = new Map();
    let next = this.body.firstChild;
    for (const it of shown) {
      let row = before.get(it.key);
      before.delete(it.key);
      if (!row) row = this.row();
      this.rows.set(it.key, row);
      if (row === next) next = next.nextSibling;
      else this.body.insertBefore(row, next);
      this.columns.forEach((column, at) => column.fill(row.children[at], it));
    }
    for (const row of before.values()) row.remove();
  }
  row() {
    const row = make('tr', null, { role: 'row' });
    this.columns.forEach((column, at) => {
      const cell = at ? make('td', null, { role: 'cell', 'data-label': column.label || column.head }) : make('th', null, { scope: 'row', role: 'rowheader' });
      cell.className = [column.num ? 'num' : '', column.kind || ''].join(' ').trim();
      row.append(cell);
    });
    return row;
  }
}
const text = (head, of, more) => ({
  head, by: of, ...more,
  fill: (cell, it) => {
    const value = (more && more.show ? more.show(it) : of(it)) ?? NONE;
    write(cell, String(value));
    const tone = more && more.tone ? more.tone(it) : '';
    if (more && more.tone) cell.className = [more.num ? 'num' : '', more.kind || '', tone].join(' ').trim();
    cell.classList.toggle('void', value === NONE && cell.classList.contains('wide'));
  },
});
/* A state is a word and a shape; its color only repeats them. */
const state = (head, of) => ({
  head, by: (it) => of(it)[1], kind: 'state',
  fill: (cell, it) => {
    const [mark, word, tone] = of(it);
    if (!cell.firstChild) cell.append(make('span', null, { class: 'mark', 'aria-hidden': 'true' }), make('span'));
    write(cell.firstChild, mark);
    write(cell.lastChild, word);
    cell.className = `state ${tone}`;
  },
});

/* Waits and rates of the last minute, hour or day. */
const WINDOWS = ['minute', 'hour', 'day'];
let period = 'minute';
try { period = WINDOWS.find((it) => it === sessionStorage.getItem('window')) || period; } catch { /* not allowed */ }
for (const name of WINDOWS) {
  const button = make('button', name, { type: 'button', 'aria-pressed': String(name === period) });
  button.addEventListener('click', () => {
    period = name;
    try { sessionStorage.setItem('window', name); } catch { /* not allowed */ }
    for (const other of $('windows').querySelectorAll('button')) other.setAttribute('aria-pressed', String(other === button));
    if (last) draw(last);
  });
  $('windows').append(button);
}
const of = (it) => (it.site.figures ? it.site.figures[period] : null);
const SECONDS = { minute: 60, hour: 3600, day: 86400 };
const wait = (head, which) => text(head, (it) => of(it)?.wait_ms?.[which], { num: true, label: `Wait ${which}`, show: (it) => age(of(it)?.wait_ms?.[which] ?? null) });

function siteState(site, queues) {
  if (site.paused) return ['‖', 'Paused', 'warn'];
  if (site.maintenance) return ['◆', 'Maintenance', 'warn'];
  if (site.workers === null) return ['?', 'Not visible', 'dim'];
  if (site.workers === 0) return ['▲', 'No workers', 'bad'];
  if (queues.running || site.busy) return ['●', 'Running', 'good'];
  return queues.waiting ? ['▶', 'Waiting', ''] : ['○', 'Idle', 'dim'];
}
const sites = new Table('sites', [
  text('Site', (it) => it.site.site),
  state('State', (it) => it.state),
  text('Oldest waiting', (it) => it.site.oldest_waiting_ms, { num: true, show: (it) => (it.site.oldest_waiting_ms ? age(it.site.oldest_waiting_ms) : NONE) }),
  text('Waiting', (it) => it.waiting, { num: true, show: (it) => count(it.waiting) }),
  text('Running', (it) => it.running, { num: true, show: (it) => count(it.running) }),
  text('Workers', (it) => it.site.workers, { num: true, show: (it) => it.workers }),
  wait('Wait p50', 'p50'), wait('p95', 'p95'), wait('p99', 'p99'),
  text('Rate', (it) => it.rate, { num: true, show: (it) => rate(it.rate) }),
  {
    head: `Last ${MINUTES} min`, kind: 'chart',
    fill: (cell, it) => {
      const svg = cell.firstChild || cell.appendChild(document.createElementNS(SVG, 'svg'));
      const values = series((p) => p.sites.get(it.site.site)?.[0]);
      const most = Math.max(0, ...values.map(([, v]) => v));
      chart(svg, values, `Waiting jobs in the last ${MINUTES} minutes: at most ${count(most)}`, [96, 20]);
    },
  },
  text('Done', (it) => it.site.done_ever, { num: true, show: (it) => count(it.site.done_ever) }),
  text('Failed', (it) => it.site.failed, { num: true, show: (it) => count(it.site.failed), tone: (it) => (it.site.failed ? 'bad' : '') }),
], 'No site is set up on this host. Run wp-gears setup.');
const failed = new Table('failed', [
  text('When', (it) => it.job.at, { kind: 'fixed', show: (it) => clock(it.job.at) }),
  text('Site', (it) => it.site),
  text('Hook', (it) => it.job.hook ?? NONE, { kind: 'name' }),
  text('Error', (it) => it.job.error, { kind: 'wide' }),
  text('Attempts', (it) => it.job.tries, { num: true, show: (it) => count(it.job.tries) }),
  text('ID', (it) => it.job.id, { kind: 'id fixed' }),
], 'No failed jobs.');
const functions = new Table('functions', [
  text('Function', (it) => it.queue.function),
  text('Site', (it) => it.queue.site ?? NONE),
  text('Job server', (it) => it.queue.server, { kind: 'name' }),
  text('Waiting', (it) => it.queue.waiting, { num: true, show: (it) => count(it.queue.waiting) }),
  text('Running', (it) => it.queue.running, { num: true, show: (it) => count(it.queue.running) }),
  text('Workers', (it) => it.queue.workers, { num: true, show: (it) => count(it.queue.workers), tone: (it) => (it.queue.waiting && !it.queue.workers ? 'bad' : '') }),
], 'No function is known to the job servers.');
const inPeriod = (it) => it.hook[period];
const spread = (head, kind, which) => text(head, (it) => inPeriod(it)[kind]?.[which], { num: true, show: (it) => age(inPeriod(it)[kind]?.[which] ?? null) });
const hooks = new Table('hooks', [
  text('Hook', (it) => it.hook.hook),
  text('Site', (it) => it.site),
  text('Runs', (it) => inPeriod(it).jobs, { num: true, show: (it) => count(inPeriod(it).jobs) }),
  spread('Wait p50', 'wait_ms', 'p50'), spread('Wait p95', 'wait_ms', 'p95'), spread('Longest wait', 'wait_ms', 'max'),
  spread('Run p50', 'run_ms', 'p50'), spread('Run p95', 'run_ms', 'p95'), spread('Longest run', 'run_ms', 'max'),
  text('Retries ever', (it) => it.hook.retried, { num: true, show: (it) => count(it.hook.retried) }),
  text('Failures ever', (it) => it.hook.failed, { num: true, show: (it) => count(it.hook.failed) }),
], 'No job has run yet.');
const servers = new Table('servers', [
  text('Job server', (it) => it.server),
  state('State', (it) => (it.up ? ['●', 'Answers', 'good'] : it.closed ? ['◆', 'Closed to this page', 'warn'] : ['▲', 'Away', 'bad'])),
  text('Version', (it) => it.version ?? NONE),
  text('Answers in', (it) => it.ms, { num: true, show: (it) => (it.up ? age(it.ms) : NONE) }),
  text('Reason', (it) => it.error ?? NONE, { kind: 'wide' }),
], 'No job server is known.');

function list(it, texts) {
  if ([...it.children].map((li) => li.textContent).join('\n') === texts.join('\n')) return;
  it.replaceChildren(...texts.map((each) => make('li', each)));
}

let last = null;
function draw(view) {
  last = view;
  const { status, problems, notes } = view;
  remember(status);
  const waits = status.sites.map((s) => s.oldest_waiting_ms).filter((ms) => ms !== null && ms !== undefined);
  const oldest = Math.max(0, ...waits);
  const where = status.sites.find((s) => oldest && s.oldest_waiting_ms === oldest);
  const waiting = status.queues.reduce((all, q) => all + q.waiting, 0);
  const running = status.queues.reduce((all, q) => all + q.running, 0);
  const workers = status.sites.reduce((all, s) => all + (s.workers || 0), 0);
  const failures = status.sites.reduce((all, s) => all + (s.failed || 0), 0);
  const retries = status.sites.reduce((all, s) => all + (s.waiting_for_retry || 0), 0);
  // A job server that does not answer this page may have jobs.
  const silent = status.servers.some((s) => !s.up);
  const blind = silent && !status.servers.some((s) => s.up);
  const limited = status.sites.reduce((all, s) => all + (s.waiting_for_limit || []).reduce((n, l) => n + l.jobs, 0), 0);
  const ever = (p) => sum(p, 2);
  const now = rateNow(ever);
  const last3 = `in the last ${MINUTES} minutes`;
  card('oldest', 'Oldest waiting job', oldest ? age(oldest) : waiting ? (waits.length ? 'under 1 s' : NONE) : silent ? NONE : 'None',
    where ? `of ${where.site}` : waiting ? (waits.length ? '' : 'not known yet') : silent ? 'not known' : 'No job waits.', oldest > 60000 ? 'bad' : '');
  const atServers = silent ? 'at the job servers that answer' : 'at the job servers';
  card('waiting', 'Waiting', blind ? NONE : count(waiting), [retries && `${count(retries)} for a retry`, limited && `${count(limited)} for a rule`].filter(Boolean).join(', ') || (blind ? 'no job server answers' : atServers),
    '', series((p) => sum(p, 0)), `Waiting jobs ${last3}, now ${blind ? 'not known' : waiting}`);
  card('running', 'Running', blind ? NONE : count(running), `by ${plural(workers, 'worker', 'workers')} here`, '', series((p) => sum(p, 1)), `Running jobs ${last3}, now ${blind ? 'not known' : running}`);
  const perSecond = rates(ever);
  card('done', 'Done', rate(now), `${count(status.sites.reduce((all, s) => all + (s.done_ever || 0), 0))} since the first`, '', perSecond, `Jobs done a second ${last3}, now ${rate(now)}`);
  card('failures', 'Failed', count(failures), failures ? 'until retried or forgotten' : 'nothing to look at', failures ? 'bad' : '');

  $('problems').hidden = !problems.length;
  list($('problem-list'), problems);
  $('notes-section').hidden = !notes.length;
  list($('notes'), notes);
  document.title = problems.length ? `(${problems.length}) wp-gears` : 'wp-gears';
  write($('version'), status.version);

  const bySite = new Map();
  for (const q of status.queues) {
    const all = bySite.get(q.site) || bySite.set(q.site, { waiting: 0, running: 0 }).get(q.site);
    all.waiting += q.waiting;
    all.running += q.running;
  }
  $('windows').hidden = !status.sites.some((s) => s.figures);
  sites.show(status.sites.map((site) => {
    const none = silent ? null : 0;
    const queues = bySite.get(site.site) || { waiting: none, running: none };
    const range = site.workers_max > site.workers_min ? ` (${site.workers_min}–${site.workers_max})` : '';
    const figures = site.figures && site.figures[period];
    const measured = figures?.jobs;
    return {
      key: site.site, words: site.site, site, ...queues,
      state: siteState(site, queues),
      workers: site.workers === null ? NONE : `${count(site.workers)}${range}`,
      rate: measured === undefined ? rateNow((p) => p.sites.get(site.site)?.[2]) : measured / SECONDS[period],
    };
  }));
  const latest = status.sites.flatMap((site) => (site.latest_failed || []).map((job) => ({ key: `${site.site} ${job.id}`, site: site.site, job })));
  latest.sort((a, b) => b.job.at - a.job.at);
  failed.show(latest.slice(0, 50), failures > latest.length ? `the latest ${Math.min(50, latest.length)} of ${count(failures)}` : count(failures));
  hooks.show(status.sites.flatMap((site) => (site.figures?.hooks || []).map((hook) => ({ key: `${site.site} ${hook.hook}`, words: `${hook.hook} ${site.site}`, site: site.site, hook }))));
  const known = status.queues.filter((q) => q.site || q.waiting + q.running + q.workers > 0);
  functions.show(known.map((queue) => ({ key: `${queue.server} ${queue.site} ${queue.function}`, words: `${queue.function} ${queue.site || ''} ${queue.server}`, queue })));
  servers.show(status.servers.map((server) => ({ key: server.server, ...server })));
}

/* Events; where they do not come through, the page asks now and then. */
const version = first.status.version;
let heard = Date.now();
let polling = false;
function live(ok, words) {
  $('dot').className = ok ? '' : 'off';
  write($('live-text'), words);
}
function take(view) {
  heard = Date.now();
  if (view.status.version !== version) location.reload();
  draw(view);
  live(true, 'Live');
}
function listen() {
  const events = new EventSource('events');
  events.onmessage = (event) => take(JSON.parse(event.data));
  events.onerror = () => {
    live(false, `Not connected since ${clock(heard)}`);
    // It tries again by itself, unless it was refused.
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  };
}
setInterval(async () => {
  if (polling || Date.now() - heard < 20000 || document.hidden) return;
  polling = true;
  try {
    const answer = await fetch('healthz', { redirect: 'error' });
    // Whoever has to log in gets the form.
    if (answer.status === 401 || answer.status === 200 || answer.status === 503) location.reload();
  } catch {
    live(false, `Not connected since ${clock(heard)}`);
  }
  polling = false;
}, 10000);
draw(first);
live(true, 'Live');
listen();
})();
