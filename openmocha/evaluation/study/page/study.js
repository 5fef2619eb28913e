// The rating page: where a rater stands comes from the server, so that it can be closed at any time.
// Choices not sent yet are kept in this browser; a request is repeated until the server answers.
"use strict";

const $ = (id) => document.getElementById(id);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const video = $("video");

let axes = [];
let rater = null;
let now = null; // the server's last word: {done, films, rated, next}
let number = 0; // of the current play of the current film

// --- the server ----------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

async function ask(path, body) {
  const how = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  for (let pause = 500; ; pause = Math.min(2 * pause, 5000)) {
    try {
      const answer = await fetch(path, how);
      if (answer.ok) {
        trouble(null);
        return await answer.json();
      }
      if (answer.status < 500) {
        const told = await answer.json().catch(() => ({}));
        throw new Refused(answer.status, told.error || "The server did not understand this page.");
      }
    } catch (error) {
      if (error instanceof Refused) throw error;
    }
    trouble("No connection. Your answers are kept here and are sent as soon as it is back.");
    await wait(pause);
  }
}

function trouble(words) {
  $("trouble").hidden = !words;
  $("trouble").textContent = words || "";
}

// --- which part of the page shows ----------------------------------------------------------------

function show(id) {
  for (const part of document.querySelectorAll("main[id]")) part.hidden = part.id !== id;
  window.scrollTo(0, 0);
}

function remember(token) {
  rater = token;
  localStorage.setItem("rater", token);
  history.replaceState(null, "", "?rater=" + encodeURIComponent(token));
}

async function start() {
  const study = await ask("/api/study");
  axes = study.axes;
  const token = new URLSearchParams(location.search).get("rater") || localStorage.getItem("rater");
  if (token) {
    try {
      now = await ask("/api/raters/" + encodeURIComponent(token));
      remember(token);
      return present();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      localStorage.removeItem("rater"); // of another study
    }
  }
  welcome(study);
}

function welcome(study) {
  $("notice").hidden = !study.notice;
  $("notice").textContent = study.notice || "";
  $("how-many").textContent = study.films;
  $("how-long").textContent = study.minutes;
  $("scales").replaceChildren(...axes.flatMap(scale));
  $("consent").onchange = () => { $("begin").disabled = !$("consent").checked; };
  $("begin").onclick = async () => {
    $("begin").disabled = true;
    now = await ask("/api/raters", { consent: true });
    remember(now.rater);
    present();
  };
  show("welcome");
}

function scale(axis) {
  const list = document.createElement("dl");
  axis.anchors.forEach((anchor, index) => {
    list.append(element("dt", index + 1), element("dd", anchor));
  });
  return [element("b", axis.title), list];
}

function element(kind, text, className) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function present() {
  if (!now.next) return thanks();
  const film = now.next;
  number = film.plays;
  $("where").textContent = `Film ${now.done + 1} of ${now.films}`;
  $("bar").style.width = `${(100 * now.done) / now.films}%`;
  $("training").hidden = !film.training;
  $("prompt-box").hidden = !film.asks_text;
  $("prompt").textContent = film.prompt || "";
  $("unplayable").hidden = true;
  trouble(null);
  $("fields").replaceChildren(
    ...axes.filter((axis) => film.asks_text || axis.name !== "text_alignment").map(question));
  open(film.played);
  playButton(film.played ? "Play again" : "Play");
  video.src = "/films/" + film.film;
  video.load();
  check();
  show("rating");
}

function thanks() {
  const some = now.rated > 0;
  $("thanks-title").textContent = some ? "Thank you, all is saved" : "Thank you";
  $("thanks-words").textContent = some
    ? "You have rated all films of this session, and can close the page. If you like, there may be more to rate."
    : "At the moment there are no films left to rate. Thank you for your time.";
  $("more").textContent = some ? "Rate some more" : "Look again";
  $("more").hidden = false;
  $("more").onclick = async () => {
    $("more").disabled = true;
    now = await ask(`/api/raters/${encodeURIComponent(rater)}/sessions`, {});
    $("more").disabled = false;
    if (now.next) return present();
    $("thanks-words").textContent = "There are no more films for you. Thank you very much.";
    $("more").hidden = true;
  };
  show("thanks");
}

// --- watching ------------------------------------------------------------------------------------

function playButton(words) {
  $("play").hidden = !words;
  $("play-words").textContent = words || "";
}

function open(played) {
  $("fields").disabled = !played;
  $("hint").textContent = played
    ? "Please rate the film now."
    : "Turn the sound on, then watch the film to its end.";
}

$("play").onclick = async () => {
  const fresh = video.currentTime === 0 || video.ended;
  if (fresh) number += 1;
  video.muted = false;
  video.volume = 1;
  const play = number;
  try {
    await video.play();
  } catch (error) {
    return; // paused again, or the error event tells
  }
  playButton(null);
  if (fresh) report("started", play);
};

video.onpause = () => {
  if (!video.ended) playButton("Go on");
};

video.onended = async () => {
  playButton("Play again");
  const answer = await report("ended", number, { watched_s: watched() });
  if (!answer) return;
  now.next.played = true;
  open(true);
  check();
};

video.onerror = () => {
  if (!now || !now.next || !video.getAttribute("src")) return;
  playButton("Try again");
  $("hint").textContent = "This film does not play here. Try again, or go on without it.";
  $("unplayable").hidden = false;
};

document.addEventListener("visibilitychange", () => {
  if (document.hidden) video.pause(); // a film that nobody looks at is not watched
});

function watched() {
  let sum = 0;
  for (let k = 0; k < video.played.length; k += 1) sum += video.played.end(k) - video.played.start(k);
  return sum;
}

async function report(event, play, more = {}) {
  const film = now.next.film;
  try {
    return await ask("/api/plays", { rater, film, number: play, event, ...more });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    trouble(error.message);
    return null;
  }
}

$("unplayable").onclick = async () => {
  const reason = video.error ? `${video.error.code} ${video.error.message}` : "unknown";
  const answer = await report("failed", number + 1, { reason: reason.slice(0, 200) });
  if (!answer) return;
  now = answer;
  present();
};

// --- rating --------------------------------------------------------------------------------------

function kept() {
  const stored = JSON.parse(localStorage.getItem("answers") || "{}");
  return stored.film === now.next.film ? stored.answers : {};
}

function question(axis) {
  const box = document.createElement("div");
  box.className = "axis";
  box.setAttribute("role", "radiogroup");
  box.setAttribute("aria-label", axis.title);
  const marks = document.createElement("div");
  marks.className = "marks";
  axis.anchors.forEach((anchor, index) => marks.append(mark(axis.name, index + 1, anchor)));
  box.append(element("h3", axis.title), element("p", axis.question), marks);
  return box;
}

function mark(name, value, anchor) {
  const label = document.createElement("label");
  label.className = "mark";
  const input = document.createElement("input");
  Object.assign(input, { type: "radio", name, value, checked: kept()[name] === value });
  const words = document.createElement("span");
  words.append(element("b", value), anchor);
  label.append(input, words);
  return label;
}

function answers() {
  const chosen = {};
  for (const input of $("fields").querySelectorAll("input:checked")) {
    chosen[input.name] = Number(input.value);
  }
  return chosen;
}

function check() {
  const asked = $("fields").querySelectorAll(".axis").length;
  $("send").disabled = $("fields").disabled || Object.keys(answers()).length < asked;
}

$("form").onchange = () => {
  localStorage.setItem("answers", JSON.stringify({ film: now.next.film, answers: answers() }));
  check();
};

$("form").onsubmit = async (event) => {
  event.preventDefault();
  $("send").disabled = true;
  video.pause();
  const given = answers();
  try {
    now = await ask("/api/ratings", { rater, film: now.next.film, answers: given });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 409) open(false);
    trouble(error.message);
    return check();
  }
  localStorage.removeItem("answers");
  if (now.feedback) return teach(now.feedback, given);
  present();
};

function teach(feedback, given) {
  $("note").textContent = feedback.note || "This is how the film is rated:";
  const head = document.createElement("tr");
  head.append(element("th", "Scale"), element("th", "You", "number"), element("th", "Right", "number"));
  const rows = axes.filter((axis) => axis.name in feedback.known).map((axis) => {
    const row = document.createElement("tr");
    const right = feedback.known[axis.name];
    row.append(element("td", axis.title),
      element("td", given[axis.name], given[axis.name] === right ? "number" : "number off"),
      element("td", `${right}: ${axis.anchors[right - 1]}`, "number"));
    return row;
  });
  $("known").replaceChildren(head, ...rows);
  $("go-on").onclick = present;
  show("feedback");
}

start();
