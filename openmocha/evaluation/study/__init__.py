"""The human study: blinded films in a browser, ratings in SQLite, the paper's Table 1 out.

films.py       films of the systems -> nameless copies, trap and training films
known.py       the organiser's films with known answers
sessions.py    who sees what: systems x items crossed, sessions balanced
freeze.py      all of that, once, into study.sqlite and design.json (design.py)
ratings.py     the SQLite file: design, sessions, plays, ratings
assignment.py  the session that a rater gets next
server.py      the page (page/) and its API
axes.py        the five axes and what 1-4 mean
checks.py      which sessions count, by the rule that was frozen with the design
statistics.py  means, intervals, tests, agreement: plain functions of arrays
tables.py      SQLite -> the tables of the report
report.py      the tables -> HTML, CSV, JSON
"""
