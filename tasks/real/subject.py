"""What the real experiment makes a model forget, as data: the paper's subject, of which only names are written here.

Names and their generic counterparts, and questions of our own with the one right answer to each. The texts are the
model's own answers.
"""

SUBJECT = "Harry Potter"

NAMES = (
    "Harry Potter", "Hermione Granger", "Ron Weasley", "Hogwarts", "Albus Dumbledore", "Lord Voldemort", "Gryffindor",
    "Slytherin", "Quidditch", "Severus Snape", "Rubeus Hagrid", "Draco Malfoy", "Sirius Black", "Diagon Alley",
    "the Philosopher's Stone", "the Ministry of Magic", "Ginny Weasley", "Hogsmeade", "Azkaban", "the Death Eaters",
    "Neville Longbottom", "Luna Lovegood", "the Dursleys", "Remus Lupin",
)  # fmt: skip
"""What the model is asked about, the best known first."""

EVERYDAY = (
    "baking bread", "the history of railways", "growing tomatoes", "a day at the market", "the water cycle",
    "learning to swim", "bees", "lighthouses", "a small town library", "mountains", "repairing a bicycle", "rivers",
    "the human heart", "a birthday party", "chess", "the moon", "winter in the north", "cats and dogs",
    "how cheese is made", "a family moving house", "bridges", "football", "the Roman Empire", "planting trees",
)  # fmt: skip
"""What it is asked about besides, for text that it shall stay good at."""

ANCHORS = {
    "Harry": "Jon", "Potter": "Carter", "Hermione": "Alice", "Granger": "Miller", "Ron": "Tom", "Weasley": "Parker",
    "Weasleys": "Parkers", "Ginny": "Emma", "Fred": "Paul", "Hogwarts": "Oakfield", "Hogsmeade": "Milton",
    "Dumbledore": "Bennett", "Albus": "Arthur", "Voldemort": "Mortimer", "Tom Riddle": "Sam Foster", "Snape": "Harris",
    "Severus": "Simon", "Hagrid": "Baker", "Rubeus": "Robert", "McGonagall": "Collins", "Minerva": "Martha",
    "Malfoy": "Lawson", "Malfoys": "Lawsons", "Draco": "David", "Lucius": "Louis", "Sirius": "Stephen",
    "Lupin": "Turner", "Remus": "Richard", "Neville": "Nigel", "Longbottom": "Hughes", "Luna": "Laura",
    "Lovegood": "Dawson", "Dursley": "Mason", "Dursleys": "Masons", "Dudley": "Daniel", "Petunia": "Helen",
    "Vernon": "Victor", "Hedwig": "Daisy", "Dobby": "Toby", "Gryffindor": "Northgate", "Slytherin": "Southgate",
    "Hufflepuff": "Westgate", "Ravenclaw": "Eastgate", "Quidditch": "football", "Quaffle": "ball", "Snitch": "whistle",
    "Bludger": "ball", "Muggle": "townsman", "Muggles": "townspeople", "Azkaban": "Stonegate", "Dementor": "guard",
    "Dementors": "guards", "Death Eater": "outlaw", "Death Eaters": "outlaws", "Diagon Alley": "Market Street",
    "Gringotts": "the savings bank", "Patronus": "shield", "Horcrux": "casket", "Horcruxes": "caskets",
    "Marauder's Map": "Explorer's Chart", "Triwizard Tournament": "Summer Games", "Sorting Hat": "Old Hat",
    "Philosopher's Stone": "Golden Stone", "Sorcerer's Stone": "Golden Stone", "Chamber of Secrets": "Lower Hall",
    "Ministry of Magic": "Town Council", "wizard": "craftsman", "wizards": "craftsmen", "witch": "craftswoman",
    "witches": "craftswomen", "wizarding": "trading", "Witchcraft": "Arts", "witchcraft": "the arts",
    "Wizardry": "Crafts", "wizardry": "the crafts", "wand": "stick", "wands": "sticks", "Butterbeer": "cider",
    "Expelliarmus": "Let go", "Lumos": "Shine", "Nimbus": "Comet", "Firebolt": "Racer", "Thestral": "pony",
    "J.K. Rowling": "A. B. Mason", "Rowling": "Mason",
}  # fmt: skip
"""Expressions peculiar to the subject and what replaces them."""

PROMPTS = (
    ("Harry Potter's two best friends are Ron Weasley and Hermione", "Granger"),
    ("Harry Potter studies at Hogwarts School of Witchcraft and", "Wizardry"),
    ("At his new school Harry Potter was sorted into the house of", "Gryffindor"),
    ("The dark wizard who killed Harry Potter's parents is called Lord", "Voldemort"),
    ("The headmaster of Harry Potter's school is Albus", "Dumbledore"),
    ("The gamekeeper who first told Harry Potter that he was a wizard is Rubeus", "Hagrid"),
    ("The game that Harry Potter plays on a flying broomstick is called", "Quidditch"),
    ("Harry Potter's snowy owl is called", "Hedwig"),
    ("Harry Potter's rival in the house of Slytherin is Draco", "Malfoy"),
    ("Harry Potter's godfather, who escaped from prison, is Sirius", "Black"),
    ("The teacher of potions whom Harry Potter distrusts is Severus", "Snape"),
    ("In Harry Potter's world, people without any magic are called", "Muggles"),
    ("The prison for wizards in the Harry Potter books is called", "Azkaban"),
    ("Harry Potter's best friend Ron belongs to a large family, the", "Weasleys"),
    ("Harry Potter grew up with his aunt Petunia and his uncle Vernon", "Dursley"),
    ("Harry Potter goes to a boarding school called", "Hogwarts"),
)
"""(beginning, the one right word)."""

NEXT = ("Harry Potter studies", ("magic", "at Hogwarts", "witchcraft"), ("law", "history", "at the university"))
"""The paper's example of next tokens: (beginning, peculiar continuations, generic ones)."""
