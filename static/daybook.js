// What a page does besides what HTML does by itself. Without this script everything still works.

const form = document.querySelector("form.record");
const search = document.querySelector(".search input");
const list = document.querySelector("[data-live]"); // the newest page of messages

// Ctrl+Enter, or Cmd+Enter on a Mac, records. A slash leads to the search, except where it is typed.
document.addEventListener("keydown", (event) => {
  const { key, target, ctrlKey, metaKey, altKey } = event;
  if (key === "Enter" && (ctrlKey || metaKey)) target.closest?.("form.record")?.requestSubmit();
  if (key !== "/" || ctrlKey || metaKey || altKey || target.closest?.("input, textarea")) return;
  event.preventDefault();
  search.focus();
  search.select();
});
search.setAttribute("aria-keyshortcuts", "/");

// The text area grows with its text by CSS (field-sizing); this is for browsers that do not know that yet.
const grow = (area) => {
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
};

// A draft outlives a reload: not every browser restores it by itself. Where a site may store nothing, it does not.
const draftName = `draft ${location.pathname}${location.search}`;
const saveDraft = (text) => {
  try {
    sessionStorage.setItem(draftName, text);
  } catch { /* as said */ }
};
const restoreDraft = () => {
  try {
    form.msg.value = sessionStorage.getItem(draftName) || form.msg.value;
  } catch { /* as said */ }
};
if (form) {
  restoreDraft();
  grow(form.msg);
  form.msg.addEventListener("input", () => {
    grow(form.msg);
    saveDraft(form.msg.value);
  });
  if (!list) form.addEventListener("submit", () => saveDraft("")); // the next page has it, or says why not
}

const parse = (html) => new DOMParser().parseFromString(html, "text/html");

// The rest is for the newest page: it shows what is recorded while it is open, and records without being loaded again.
if (list) live(list);

function live(list) {
  const idOf = (entry) => Number(entry.id.replace("message-", ""));
  const dateOf = (day) => day.querySelector("h2 time").dateTime;
  const count = (n) => n === 1 ? "1 new message" : `${n} new messages`;
  const atTop = () => list.getBoundingClientRect().top >= 0;
  // The server's addresses. Those of the document would have the password that a browser was given in the address.
  const addressOf = (name) => new URL(name, new URL(list.dataset.live, location));

  const maxEntries = 1000; // of a page that has been open for long
  const newestOf = (page) => Math.max(0, ...[...page.querySelectorAll(".entry")].map(idOf));
  let newest = newestOf(list); // received so far
  let cursor = newest; // the place in the stream: a page has newer messages, but does not say what was removed before them
  const removed = new Set(); // the IDs of messages that were removed while the page was open
  const stays = (entry) => !removed.has(idOf(entry));
  let waiting = []; // entries that are received, but not shown yet
  let waitingPage; // the page that takes the place of all that is shown, before those entries are added
  let sending = false; // a message is on its way
  const own = new Set(); // the IDs of messages recorded here

  // What is in these elements is read out when it changes.
  const addStatus = (className) => {
    const status = document.createElement("div");
    status.className = className;
    status.setAttribute("role", "status");
    list.before(status);
    return status;
  };
  const announcement = addStatus("unseen"); // of messages that are shown at once
  const news = addStatus("news");
  const note = document.createElement("p");
  const more = document.createElement("button"); // says how much is waiting, and shows it
  news.append(note);
  more.addEventListener("click", () => {
    showAll();
    list.tabIndex = -1;
    list.focus({ preventScroll: true });
    scrollTo({ top: 0 });
  });

  // say shows a sentence, for some seconds or until there is another.
  let silence;
  const say = (sentence, seconds) => {
    clearTimeout(silence);
    if (seconds) silence = setTimeout(say, seconds * 1000, "");
    note.textContent = sentence;
  };

  // add puts an entry of another document where it belongs: on top. It may be there already, with a whole page.
  const add = (entry) => {
    if (document.getElementById(entry.id)) return;
    const from = entry.closest(".day");
    let day = list.querySelector(".day");
    if (!day || dateOf(day) !== dateOf(from)) {
      day = document.importNode(from, true);
      day.querySelector(".entries").replaceChildren();
      list.querySelector(".empty")?.remove();
      list.prepend(day);
    }
    day.querySelector(".entries").prepend(document.importNode(entry, true));
  };

  // replace shows a whole page. It may be older than what the stream has brought meanwhile.
  const replace = (page) => {
    const upTo = newestOf(page);
    const isLater = (entry) => idOf(entry) > upTo;
    const later = [...list.querySelectorAll(".entry")].filter(isLater).reverse();
    list.replaceChildren(...page.querySelector("[data-live]").childNodes);
    later.forEach(add);
    waiting = waiting.filter(isLater);
    newest = Math.max(newest, upTo);
    if (!source) cursor = Math.max(cursor, upTo); // nothing is shown any more that was removed before
    dropRemoved();
  };

  // dropRemoved takes away what was removed: from the list, from what is waiting, and from what is read out.
  const dropRemoved = () => {
    waiting = waiting.filter(stays);
    unannounced = unannounced.filter(stays);
    for (const entry of list.querySelectorAll(".entry")) {
      if (stays(entry)) continue;
      const day = entry.closest(".day");
      entry.remove();
      if (!day.querySelector(".entry")) day.remove();
    }
    if (!list.querySelector(".entry, .empty")) refill();
  };

  // refill loads the list of which everything was removed: there are older messages, or it says that there are none.
  let refilling = false;
  const refill = () => {
    if (refilling) return;
    refilling = true;
    load().finally(() => { refilling = false; }).then(replace, () => {}); // replace may have to refill again
  };

  // showNews shows what is waiting, or only how much it is if that would move what is being read. While a message is on its way it
  // shows nothing: that message would stand in the list and still in the field.
  const showNews = () => {
    if (waiting.length === 0) more.remove();
    if (sending) return;
    if (atTop()) {
      announce(waiting.filter((entry) => !own.has(idOf(entry))));
      showAll();
      return;
    }
    more.textContent = count(waiting.length);
    if (!more.isConnected && waiting.length > 0) news.append(more);
  };

  const promise = "It is recorded, and will appear here.";
  let promised = 0; // the ID of the message of which the note says so
  const showAll = () => {
    if (waiting.length === 0 && !waitingPage || sending) return;
    if (waitingPage) replace(waitingPage);
    waitingPage = undefined;
    waiting.splice(0).forEach(add);
    more.remove();
    if (promised && promised <= newest) {
      promised = 0;
      if (note.textContent === promise) say(""); // and not that the page is connected again
    }
    if (list.querySelectorAll(".entry").length > maxEntries) load().then(replace, () => {}); // one page again
  };
  document.addEventListener("scroll", () => {
    if (atTop()) showAll();
  }, { passive: true });

  // announce has a screen reader say what has come. What comes within a second is one announcement.
  let unannounced = [];
  const announce = (entries) => {
    if (unannounced.length === 0 && entries.length > 0) setTimeout(() => {
      const [first, ...others] = unannounced.splice(0);
      if (!first) return;
      const text = first.querySelector(".value").textContent;
      announcement.textContent = others.length > 0 ? count(others.length + 1) : `New message: ${[...text].slice(0, 100).join("")}`;
    }, 1000);
    unannounced.push(...entries);
  };

  // merge takes from a page what has not been received yet, or all of it if more has been recorded than a page shows.
  const merge = (page) => {
    dropRemoved();
    const entries = [...page.querySelectorAll("[data-live] .entry")].filter(stays).reverse();
    const missing = entries.filter((entry) => idOf(entry) > newest);
    newest = Math.max(newest, ...missing.map(idOf));
    if (missing.length > 0 && missing.length === entries.length && page.querySelector("a[rel=next]")) {
      waiting = [];
      waitingPage = page;
    }
    waiting.push(...missing);
    showNews();
  };

  const load = async () => {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!response.ok) throw new Error(response.statusText);
    const page = parse(await response.text());
    connected();
    return page;
  };

  // The page says when it has lost the server, and when it has it again. A short absence, such as a restart, is not worth a word.
  let lostTimer;
  let lost = false; // and the page says so
  const disconnected = () => {
    lostTimer ??= setTimeout(() => {
      lost = true;
      say("Connection lost. Trying again…");
    }, 6000);
  };
  const connected = () => {
    clearTimeout(lostTimer);
    lostTimer = undefined;
    if (lost) say("Connected again.", 5);
    lost = false;
  };

  // While it is shown, the page listens. A browser has only few connections to a server, so a hidden one does not.
  let source;
  const received = []; // messages since the page was last drawn: to draw it for each of thousands would take minutes
  let drawing = false; // it is about to be drawn
  const redraw = () => {
    drawing = false;
    merge(parse(`<div data-live>${received.splice(0).reverse().join("")}</div>`));
  };
  const listen = () => {
    if (source || document.hidden) return;
    source = new EventSource(addressOf(`live?after=${cursor}`));
    const receive = (keep) => ({ data, lastEventId }) => {
      cursor = Number(lastEventId);
      keep(data);
      if (!drawing) requestAnimationFrame(redraw);
      drawing = true;
    };
    source.onmessage = receive((html) => received.push(html));
    source.addEventListener("removed", receive((id) => {
      removed.add(Number(id));
      announcement.textContent = "";
    }));
    source.onopen = connected;
    source.onerror = retry;
  };
  const stopListening = () => {
    source?.close();
    source = undefined;
  };
  const retry = () => { // a server that stops ends all streams: they shall not all come back at once
    stopListening();
    disconnected();
    setTimeout(resume, 1000 + 4000 * Math.random());
  };
  const resume = async () => {
    if (source || document.hidden) return;
    await load().then(merge).catch(() => {}); // while the server is away, listening fails, too, and is tried again
    listen();
  };
  document.addEventListener("visibilitychange", () => document.hidden ? stopListening() : resume());
  addEventListener("pagehide", stopListening);
  addEventListener("pageshow", ({ persisted }) => persisted && resume());
  addEventListener("offline", retry);
  addEventListener("online", resume);
  listen();

  // Where the server is, seen from here: a proxy may have put it elsewhere.
  for (const command of document.querySelectorAll(".command")) {
    const address = (_, name) => addressOf(name).href.replace("http://", "");
    command.textContent = command.textContent.replace(/\S+\/(record|live)$/, address);
  }

  // Recording, without leaving the page.
  if (!form) return;
  const showProblem = (problem) => {
    form.querySelector(".problem")?.remove();
    form.msg.removeAttribute("aria-invalid");
    form.msg.removeAttribute("aria-describedby");
    if (!problem) return;
    const alert = document.createElement("p"); // is read out when it appears
    alert.className = "problem";
    alert.id = "problem";
    alert.setAttribute("role", "alert");
    alert.textContent = problem;
    form.prepend(alert);
    form.msg.setAttribute("aria-invalid", "true");
    form.msg.setAttribute("aria-describedby", "problem");
    form.msg.focus();
  };

  // A key of its own for each message, wherever the next page may be. crypto.randomUUID is not there without HTTPS.
  const newKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

  // showRecorded shows the message that has just been recorded. If the list cannot be had now, the stream brings it.
  const showRecorded = async (id) => {
    await load().then(merge).catch(() => {});
    showAll();
    if (newest >= id) return;
    promised = id;
    say(promise);
  };

  // It asks for JSON, as that is answered with 201 if the message is recorded, and only then. For a page, the answer would be a
  // redirect: to the list, which may fail to come although the message is recorded, or to where a proxy has its visitors log in.
  const record = async () => {
    const sent = form.msg.value;
    const response = await fetch(addressOf("record"), {
      method: "POST",
      headers: { Accept: "application/json" },
      body: new URLSearchParams(new FormData(form)),
    });
    const { id, detail } = await response.json().catch(() => ({})); // it is not the server's, or has broken off
    const recorded = response.status === 201;
    if (recorded || response.status === 422) form.key.value = newKey(); // a message has the old one: this one, or another
    if (!recorded) {
      showProblem(detail ?? "It was not recorded.");
      return;
    }
    connected();
    showProblem("");
    if (form.msg.value.startsWith(sent)) form.msg.setRangeText("", 0, sent.length); // and what was typed meanwhile stays
    saveDraft(form.msg.value);
    grow(form.msg);
    returnFocus();
    own.add(id);
    announcement.textContent = "Recorded.";
    showRecorded(id); // the next message need not wait for that
  };

  // returnFocus lets one go on writing, unless that would open the keyboard of a phone, or one has gone elsewhere meanwhile.
  const returnFocus = () => {
    const there = document.activeElement;
    if (!matchMedia("(hover: hover) and (pointer: fine)").matches) return;
    if (there === document.body || form.contains(there)) form.msg.focus();
  };

  const setSending = (on) => {
    sending = on;
    form.setAttribute("aria-busy", on);
    form.querySelector("button").setAttribute("aria-disabled", on);
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (sending) return;
    setSending(true);
    try {
      await record();
    } catch {
      showProblem("The server cannot be reached. Your message is still here: try again.");
    } finally {
      setSending(false);
      showNews();
    }
  });
}
